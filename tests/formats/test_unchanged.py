import os
import shutil

import numpy as np
import pytest
import tifffile
import zarr

from parafovea.errors import SourceError
from parafovea.formats.source_changes import unchanged
from parafovea.settings.recipe import Normalization
from parafovea.stages import resample_volume as stage

VOXELS = np.random.default_rng(0).integers(0, 256, (20, 40, 36), np.uint8)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "raw.zarr"
    zarr.create_array(path, shape=VOXELS.shape, dtype="u1", chunks=(10, 20, 18))[...] = VOXELS
    return path


@pytest.fixture
def slices(tmp_path):
    folder = tmp_path / "slices"
    folder.mkdir()
    for number, plane in enumerate(VOXELS):
        tifffile.imwrite(folder / f"{number:03}.tif", plane)
    return folder


def test_reading_changes_nothing(image, slices):
    with unchanged(str(image), str(slices), str(slices / "*.tif")) as check:
        assert np.array_equal(zarr.open_array(image)[...], VOXELS)
        check()


def test_a_chunk_that_disappears_is_an_error(image):
    with unchanged(str(image)) as check:
        (image / "c" / "0" / "1" / "0").unlink()
        with pytest.raises(SourceError, match=r"raw\.zarr changed or disappeared while"):
            check()


def test_a_chunk_that_is_written_anew_is_an_error(image):
    with unchanged(str(image)) as check:
        zarr.open_array(image)[:10, :20, :18] = 0
        with pytest.raises(SourceError, match="changed"):
            check()


def test_a_slice_of_a_pattern_that_is_replaced_is_an_error(slices):
    with unchanged(str(slices / "*.tif")) as check:
        file = slices / "004.tif"
        tifffile.imwrite(file, VOXELS[5])
        os.utime(file, ns=(1, 1))
        with pytest.raises(SourceError, match="changed"):
            check()


def test_another_error_of_a_source_that_is_gone_becomes_this_one(image):
    with pytest.raises(SourceError, match="disappeared"), unchanged(str(image)):
        shutil.rmtree(image)
        raise RuntimeError("cannot decode")
    with pytest.raises(RuntimeError, match="a bug"), unchanged("nowhere.tif"):
        raise RuntimeError("a bug")


def test_a_volume_is_not_written_where_its_source_went_missing_halfway(
    image, tmp_path, monkeypatch
):
    def losing(boxes, *facts):
        # the statistics are known, no block is resampled yet
        shutil.rmtree(image / "c" / "1")
        yield from boxes

    monkeypatch.setattr(stage, "tracked", losing)
    with pytest.raises(SourceError, match=r"raw\.zarr changed or disappeared"):
        stage.resample_volume(
            str(image),
            tmp_path / "volume.ome.zarr",
            metadata="spacing=16,16,16 unit=nanometer",
            spacing=(16, 16, 16),
            unit="nanometer",
            normalization=Normalization(),
        )
    assert not list(tmp_path.glob("*volume*"))
    assert not list(tmp_path.glob(".volume*"))
