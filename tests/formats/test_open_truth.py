import numpy as np
import pytest
import tifffile

from parafovea.errors import SpacingError
from parafovea.formats.truth import open_truth, open_truth_objects
from parafovea.geometry.grid import Grid
from parafovea.storage.store import create

METADATA = "spacing=50,4,4 unit=nanometer channel=1"


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "truth.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    return str(path)


def test_a_truth_without_spacing_lies_where_its_source_does(plain):
    truth = open_truth(plain, metadata=METADATA)
    assert truth.grid == Grid((3, 8, 8), (50, 4, 4))


def test_a_truth_that_states_its_spacing_keeps_it(tmp_path):
    grid = Grid((3, 4, 4), (50, 8, 8))
    path = tmp_path / "truth.ome.zarr"
    with create(path, grid, dtype=np.uint8):
        pass
    assert open_truth(str(path), metadata=METADATA).grid.spacing == (50, 8, 8)


def test_no_truth_is_none_and_a_truth_without_any_spacing_is_refused(plain):
    assert open_truth(None, metadata="") is None
    assert open_truth_objects("spacing=1,1,1") is None
    with pytest.raises(SpacingError):
        open_truth(plain, metadata="")


def test_true_objects_are_those_that_the_metadata_names(plain):
    objects = open_truth_objects(f"{METADATA} objects={plain}")
    assert objects.path == plain
    assert objects.grid.spacing == (50, 4, 4)
