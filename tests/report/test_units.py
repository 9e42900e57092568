import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import GridError
from parafovea.geometry.grid import METRES, Grid
from parafovea.report.units import (
    grid_facts,
    length_text,
    number_text,
    scale_bar,
    volume_text,
)


@settings(max_examples=30)
@given(st.floats(1e-3, 1e7), st.sampled_from(sorted(METRES)))
def test_scale_bar_is_the_longest_round_length_within_its_share(width, unit):
    bar = scale_bar(width, unit)
    assert 0.0999 * width <= bar.length <= 0.2501 * width
    assert f"{float(bar.label.split()[0]):e}"[0] in "125"


@pytest.mark.parametrize(
    ("width", "unit", "length", "label"),
    [
        (2560, "nanometer", 500, "500 nm"),
        (4000, "nanometer", 1000, "1 µm"),
        (300, "millimeter", 50, "50 mm"),
        (10980, "meter", 2000, "2 km"),
        (8, "angstrom", 2, "2 Å"),
    ],
)
def test_scale_bar_examples(width, unit, length, label):
    bar = scale_bar(width, unit)
    assert bar.length == pytest.approx(length)
    assert bar.label == label


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_picture_without_a_width_is_a_grid_error(width):
    with pytest.raises(GridError, match="must be positive"):
        scale_bar(width, "meter")


def test_numbers_are_written_short():
    assert [number_text(v) for v in (0, 0.75, 1234, 99999, -12)] == [
        "0",
        "0.75",
        "1234",
        "99999",
        "-12",
    ]
    assert number_text(12_345_678) == "1.23 × 10⁷"
    assert number_text(0.000045) == "4.50 × 10⁻⁵"
    assert length_text(2560, "nanometer") == "2.56 µm"
    assert length_text(0, "nanometer") == "0 Å"
    assert volume_text(4096, "nanometer") == "4096 nm³"


def test_grid_facts_name_the_axes_and_the_units():
    facts = grid_facts(Grid((48, 160, 160), (16, 16, 16)))
    assert facts == {
        "Voxels (z, y, x)": "48 × 160 × 160",
        "Voxel size": "16 × 16 × 16 nm",
        "Extent": "0.768 × 2.56 × 2.56 µm",
    }
