from pathlib import Path

import h5py
import numpy as np
import pytest

from parafovea.errors import SourceError, SpacingError, VoxelError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Box, Grid

NM = SourceMetadata(spacing=(50.0, 4.6, 4.6), unit="nanometer")
VALUES = np.random.default_rng(9).integers(0, 256, (6, 10, 8), dtype=np.uint8)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as opened:
        opened.create_dataset("stack", data=VALUES, chunks=(2, 4, 4), compression="lzf")
        placed = opened.create_dataset("volumes/raw", data=VALUES)
        placed.attrs["element_size_um"] = [0.05, 0.004, 0.004]
        named = opened.create_dataset("volumes/labels", data=VALUES.astype(">i4"))
        named.attrs["resolution"] = (50, 4, 4)
        named.attrs["units"] = ["nm", "nm", "nm"]
        named.attrs["offset"] = (100, 0, 8)
        opened["plane"] = VALUES[0]
        opened["mask"] = VALUES > 99
        opened["time"] = VALUES[None, None]
        opened["empty"] = VALUES[:, :0]
        opened["names"] = ["a", "b"]
        opened["number"] = 3.0
        opened["waves"] = VALUES.astype(complex)
    return str(path)


def test_a_dataset_is_read_a_box_at_a_time(file):
    source = open_source(f"{file}:stack", metadata=NM)
    assert source.grid == Grid((6, 10, 8), (50, 4.6, 4.6))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
    box = Box((1, 3, 0), (2, 9, 7))
    np.testing.assert_array_equal(source.read(box), VALUES[box.slices])


def test_attributes_state_the_place(file):
    assert open_source(f"{file}:volumes/raw").grid == Grid(
        (6, 10, 8), (0.05, 0.004, 0.004), unit="micrometer"
    )
    labels = open_source(f"{file}:/volumes/labels")
    assert labels.grid == Grid((6, 10, 8), (50, 4, 4), (100, 0, 8), "nanometer")
    assert labels.array.dtype == np.int32
    np.testing.assert_array_equal(labels.read(labels.grid.box), VALUES)


def test_no_spacing_is_asked_for(file):
    with pytest.raises(SpacingError, match=r"a\.h5:stack does not state.*spacing=50,4\.6,4\.6"):
        open_source(f"{file}:stack")


def test_planes_and_booleans_are_volumes_of_numbers(file):
    plane = open_source(f"{file}:plane", metadata=NM)
    np.testing.assert_array_equal(plane.read(plane.grid.box), VALUES[:1])
    mask = open_source(f"{file}:mask", metadata=NM)
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.read(mask.grid.box), VALUES > 99)


@pytest.mark.parametrize("dataset", ["", ":", ":missing", ":volumes"])
def test_a_dataset_that_is_not_there_lists_those_that_are(file, dataset):
    with pytest.raises(SourceError) as caught:
        open_source(f"{file}{dataset}", metadata=NM)
    assert f"{file}:volumes/raw (6, 10, 8) uint8" in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "error", "says"),
    [
        ("time", SourceError, r"shape \(1, 1, 6, 10, 8\), of 5 axes"),
        ("number", SourceError, r"shape \(\), of 0 axes"),
        ("names", SourceError, "of 1 axes"),
        ("empty", VoxelError, "no voxels along y"),
        ("waves", SourceError, "complex numbers"),
    ],
)
def test_what_is_no_volume_is_refused(file, dataset, error, says):
    with pytest.raises(error, match=says):
        open_source(f"{file}:{dataset}", metadata=NM)


def test_a_broken_file_is_named(tmp_path, file):
    content = Path(file).read_bytes()
    for name, raw in (("text.h5", b"nothing"), ("cut.h5", content[: len(content) // 2])):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(SourceError, match=rf"{name}:stack cannot be read"):
            open_source(f"{tmp_path}/{name}:stack", metadata=NM)


def test_a_file_that_is_cut_after_opening_is_found_when_a_slab_is_read(file):
    source = open_source(f"{file}:stack", metadata=NM)
    with Path(file).open("r+b") as stream:
        stream.truncate(3000)
    with pytest.raises(SourceError, match=r"a\.h5:stack cannot be read"):
        source.read(Box((5, 0, 0), (6, 10, 8)))


def test_an_array_of_matlab_is_read_by_the_names_of_its_dimensions_alone(tmp_path):
    path = tmp_path / "a.h5"
    reversed_axes = VALUES.transpose(0, 2, 1)  # A(y, x, z) in MATLAB
    with h5py.File(path, "w") as opened:
        plain = opened.create_dataset("plain", data=reversed_axes)
        named = opened.create_dataset("named", data=reversed_axes)
        for dataset in (plain, named):
            dataset.attrs["MATLAB_class"] = np.bytes_("uint8")
        for dimension, name in zip(named.dims, "zxy", strict=True):
            dimension.label = name
    with pytest.raises(SourceError, match=r"a\.h5:plain was written by MATLAB.*dims\[0\]\.label"):
        open_source(f"{path}:plain", metadata=NM)
    source = open_source(f"{path}:named", metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
