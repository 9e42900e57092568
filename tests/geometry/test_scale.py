import pytest

from parafovea.errors import SourceError
from parafovea.geometry.grid import Grid
from parafovea.geometry.scale import check_scale


@pytest.mark.parametrize(
    "grid",
    [
        Grid((20, 512, 512), (50, 4.6, 4.6)),
        Grid((100, 512, 512), (16, 16, 16)),
        Grid((200, 900, 900), (0.002, 0.002, 0.002), unit="micrometer"),
        Grid((1, 64, 64), (300, 16, 16)),
    ],
)
def test_usual_sources_of_a_model_pass(grid):
    check_scale("a", grid, spacing=(16, 16, 16), unit="nanometer")


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (Grid((9, 9, 9), (1, 1, 1), unit="micrometer"), "62.5 times coarser along z"),
        (Grid((9, 9, 9), (1, 0.7, 0.7), unit="millimeter"), r"6\.25e\+04 times coarser"),
        (Grid((99, 99, 99), (1, 1, 1), unit="picometer"), "times finer, so that 1 x 1 x 1"),
    ],
)
def test_a_source_of_another_scale_is_refused_with_both_sizes(grid, says):
    with pytest.raises(SourceError, match=rf"the model voxels of 16 x 16 x 16 nanometer: .*{says}"):
        check_scale("a", grid, spacing=(16, 16, 16), unit="nanometer")


@pytest.mark.parametrize("step", [0.05, 19.0])
def test_a_scan_has_the_size_of_a_person(step):
    grid = Grid((300, 512, 512), (step, step, step), unit="millimeter")
    with pytest.raises(SourceError, match=r"largest side measures .* mm"):
        check_scale("a", grid, spacing=(1, 1, 1), unit="millimeter", scan=True)
    check_scale("a", grid, spacing=(1, 1, 1), unit="millimeter")
