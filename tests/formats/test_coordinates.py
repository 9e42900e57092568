"""Places by the coordinates that netCDF and xarray store beside an array, and by Imaris."""

import h5py
import numpy as np
import pytest
import zarr

from parafovea.errors import SourceError
from parafovea.formats.location import source_files
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Grid

VALUES = np.random.default_rng(8).integers(0, 256, (4, 5, 6), dtype=np.uint8)
EVEN = {"z": np.arange(4) * 40.0 + 80, "y": np.arange(5) * 8.0, "x": np.arange(6) * 8.0}


def _hdf5(folder, coordinates, units="nm"):
    with h5py.File(folder / "a.nc", "w") as file:
        file["raw"] = VALUES
        for axis, (name, values) in enumerate(coordinates.items()):
            file[name] = values
            file[name].attrs["units"] = units
            file[name].make_scale(name)
            file["raw"].dims[axis].attach_scale(file[name])
    return f"{folder}/a.nc:raw"


def _zarr(folder, coordinates, units="nm"):
    group = zarr.create_group(folder / "a.zarr", zarr_format=2)
    for name, values in {"raw": VALUES, **coordinates}.items():
        array = group.create_array(name, shape=values.shape, dtype=values.dtype)
        array[...] = values
        array.attrs["_ARRAY_DIMENSIONS"] = list("zyx") if name == "raw" else [name]
        array.attrs["units"] = "counts" if name == "raw" else units
    return str(folder / "a.zarr" / "raw")


@pytest.mark.parametrize("write", [_hdf5, _zarr])
def test_coordinates_place_an_array_that_states_no_spacing(tmp_path, write):
    source = open_source(write(tmp_path, EVEN))
    assert source.grid == Grid((4, 5, 6), (40, 8, 8), (80, 0, 0))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
    # the origin keeps its place in voxels
    moved = open_source(source.path, metadata="spacing=50,4,4")
    assert moved.grid == Grid((4, 5, 6), (50, 4, 4), (100, 0, 0))


def test_arrays_of_coordinates_belong_to_the_files_of_a_source(tmp_path):
    path = _zarr(tmp_path, EVEN)
    beside = {str(tmp_path / "a.zarr" / name) for name in "zyx"}
    assert beside <= {*source_files(path)}


@pytest.mark.parametrize("write", [_hdf5, _zarr])
@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("y", np.arange(5)[::-1] * 8.0, "coordinates that run down along y, from 32 to 0"),
        ("z", np.array([0.0, 40, 80, 160]), "uneven coordinates along z, 40 to 80 apart"),
    ],
)
def test_coordinates_that_are_no_grid_are_refused(tmp_path, write, name, values, message):
    path = write(tmp_path, {**EVEN, name: values})
    with pytest.raises(SourceError, match=message):
        open_source(path)
    if name == "z":
        assert open_source(path, metadata="spacing=40,8,8 unit=nm").grid.spacing == (40, 8, 8)


def test_the_padding_of_an_imaris_file_is_no_image(tmp_path):
    def letters(text):
        return np.array([letter.encode() for letter in text], "S1")

    with h5py.File(tmp_path / "a.ims", "w") as file:
        channel = file.create_group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")
        padded = np.zeros((8, 8, 8), np.uint8)
        padded[:4, :5, :6] = VALUES
        channel.create_dataset("Data", data=padded, chunks=(4, 4, 4))
        for axis, length in zip("ZYX", VALUES.shape, strict=True):
            channel.attrs[f"ImageSize{axis}"] = letters(str(length))
        image = file.create_group("DataSetInfo/Image")
        for axis, end in enumerate((3.0, 5.0, 8.0)):
            image.attrs[f"ExtMin{axis}"] = letters("1.0")
            image.attrs[f"ExtMax{axis}"] = letters(str(1 + end))
        image.attrs["Unit"] = letters("um")
    data = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"
    source = open_source(f"{tmp_path}/a.ims:{data}")
    assert source.grid == Grid((4, 5, 6), (2, 1, 0.5), (2, 1.5, 1.25), "micrometer")
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
