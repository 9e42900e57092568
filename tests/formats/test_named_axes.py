"""Arrays that name their axes, and numbers that attributes turn into values, in Zarr and HDF5."""

import json

import h5py
import numpy as np
import pytest
import zarr

from parafovea.errors import SourceError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.geometry.grid import Grid

NM = SourceMetadata(spacing=(8.0, 4.0, 2.0), unit="nanometer")
SECOND = NM.model_copy(update={"channel": 1})
VALUES = np.random.default_rng(1).integers(1, 250, (4, 5, 6), dtype=np.uint8)
TURNED = np.ascontiguousarray(VALUES.T)
CHANNELS = np.stack([VALUES, VALUES[::-1]], axis=-1)


def _v3(path, values, names):
    array = zarr.create_array(path, data=values, chunks=values.shape, dimension_names=names)
    return array.store_path.store.root.as_posix()


def _attribute(key, zarr_format):
    def write(path, values, names):
        array = zarr.create_array(path, data=values, chunks=values.shape, zarr_format=zarr_format)
        array.attrs[key] = list(names)
        return str(path)

    return write


def _hdf5(describe):
    def write(path, values, names):
        with h5py.File(f"{path}.h5", "w") as file:
            describe(file.create_dataset("raw", data=values), list(names))
        return f"{path}.h5:raw"

    return write


def _axistags(dataset, names):
    dataset.attrs["axistags"] = json.dumps({"axes": [{"key": n, "typeFlags": 2} for n in names]})


def _dimension_labels(dataset, names):
    for dimension, name in zip(dataset.dims, names, strict=True):
        dimension.label = name


def _dimension_scales(dataset, names):
    for axis, name in enumerate(names):
        scale = dataset.file.create_dataset(name, data=np.arange(dataset.shape[axis]))
        scale.make_scale(name)
        dataset.dims[axis].attach_scale(scale)


def _nexus(path, values, names):
    with h5py.File(f"{path}.h5", "w") as file:
        group = file.create_group("entry/data")
        group.create_dataset("raw", data=values)
        group.attrs.update(NX_class="NXdata", signal="raw", axes=list(names))
    return f"{path}.h5:entry/data/raw"


def _old_nexus(dataset, names):
    dataset.attrs["axes"] = ":".join(names)


WRITERS = {
    "dimension_names": _v3,
    "xarray": _attribute("_ARRAY_DIMENSIONS", 2),
    "funlib": _attribute("axis_names", 2),
    "axes": _attribute("axes", 3),
    "axistags": _hdf5(_axistags),
    "labels": _hdf5(_dimension_labels),
    "scales": _hdf5(_dimension_scales),
    "dims": _attribute("dims", 3),
    "nexus": _nexus,
    "nexus of a dataset": _hdf5(_old_nexus),
}


@pytest.mark.parametrize(
    "words",
    [("x", "y", "z"), ("width", "height", "depth"), ("space_x", "pixel_y", "z-axis")],
)
@pytest.mark.parametrize("writer", WRITERS)
def test_axes_are_turned_as_they_are_named(tmp_path, writer, words):
    source = open_source(WRITERS[writer](tmp_path / "a", TURNED, words), metadata=NM)
    assert source.grid == Grid((4, 5, 6), (8, 4, 2))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_channel_is_chosen_in_every_format(tmp_path, writer):
    path = WRITERS[writer](tmp_path / "a", CHANNELS, ("z", "y", "x", "c"))
    with pytest.raises(SourceError, match="2 channels: write channel=0"):
        open_source(path, metadata=NM)
    source = open_source(path, metadata=SECOND)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES[::-1])


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("names", "says"),
    [(("t", "y", "x"), "4 elements along the axis t"), (("z", "z", "x"), "z twice|contradict")],
)
def test_axes_that_make_no_volume_are_refused(tmp_path, writer, names, says):
    if writer == "scales" and names[0] == names[1]:
        names, says = ("z", "y", "other"), "lack y or x"
    with pytest.raises(SourceError, match=says):
        open_source(WRITERS[writer](tmp_path / "a", VALUES, names), metadata=NM)


@pytest.mark.parametrize("names", [("i", "j", "k"), ("dim_0", "dim_1", "dim_2")])
def test_names_that_mean_nothing_leave_the_axes_as_they_are(tmp_path, names):
    source = open_source(_v3(tmp_path / "a", VALUES, names), metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)


def test_a_signal_of_nexus_lies_where_its_axes_are(tmp_path):
    path = _nexus(tmp_path / "a", TURNED, ("x", "y", "z"))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        for name, step, length in (("x", 2.0, 6), ("y", 4.0, 5), ("z", 8.0, 4)):
            file[f"entry/data/{name}"] = np.arange(length) * step + 16
            file[f"entry/data/{name}"].attrs["units"] = "nm"
        file["entry/data/dark"] = TURNED
    grid = Grid((4, 5, 6), (8, 4, 2), origin=(16, 16, 16))
    source = open_source(path)
    assert source.grid == grid
    np.testing.assert_array_equal(source.read(grid.box), VALUES)
    # the axes are those of the signal alone
    assert open_source(f"{tmp_path}/a.h5:entry/data/dark", metadata=NM).grid.shape == (6, 5, 4)


def test_names_that_contradict_each_other_are_refused(tmp_path):
    path = _v3(tmp_path / "a", VALUES, ("z", "y", "x"))
    zarr.open_array(path).attrs["_ARRAY_DIMENSIONS"] = ["x", "y", "z"]
    with pytest.raises(SourceError, match=r"contradict each other \(dimension_names: z, y, x; _A"):
        open_source(path, metadata=NM)
    path = _attribute("axis_names", 2)(tmp_path / "b", VALUES, ("z", "y"))
    with pytest.raises(SourceError, match="has 3 axes, but axis_names names z, y"):
        open_source(path, metadata=NM)


@pytest.mark.parametrize("per_axis", [4, 3])
def test_sizes_and_units_follow_the_order_of_the_axes(tmp_path, per_axis):
    array = zarr.create_array(tmp_path / "a", data=CHANNELS.T, chunks=(2, 6, 5, 4), zarr_format=2)
    extra = per_axis - 3
    array.attrs.update(
        axis_names=["c^", "x", "y", "z"], voxel_size=[1] * extra + [2, 4, 0.008],
        units=[""] * extra + ["nm", "nm", "um"], offset=[0] * extra + [2, 0, 0.08],
    )  # fmt: skip
    source = open_source(str(tmp_path / "a"), metadata=SourceMetadata(channel=1))
    assert source.grid == Grid((4, 5, 6), (8, 4, 2), (80, 0, 2))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES[::-1])


def _ome(path, values, axes, *, names=None, version="0.5"):
    group = zarr.create_group(path)
    group.create_array("0", data=values, chunks=values.shape, dimension_names=names)
    scale = [8.0, 4.0, 2.0] if len(axes) == 3 else [1.0, 8.0, 4.0, 2.0]
    steps = [{"type": "scale", "scale": scale}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    group.attrs["ome"] = {
        "version": version, "multiscales": [{"axes": axes, "datasets": datasets}],
    }  # fmt: skip
    return str(path)


SPACE = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]


def test_a_channel_axis_is_told_by_its_type(tmp_path):
    axes = [{"name": "stain", "type": "channel"}, *SPACE]
    path = _ome(tmp_path / "a", np.moveaxis(CHANNELS, -1, 0).copy(), axes)
    metadata = SourceMetadata(channel=1)
    source = open_source(path, metadata=metadata)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES[::-1])
    assert source_grid(path, metadata=metadata) == source.grid
    with pytest.raises(SourceError, match="2 channels"):
        source_grid(path)


def test_an_image_and_its_array_agree_on_the_axes(tmp_path):
    good = _ome(tmp_path / "a", VALUES, SPACE, names=["z", "y", "x"])
    assert open_source(good).grid.shape == (4, 5, 6)
    with pytest.raises(SourceError, match="axes z, y, x in its OME-Zarr metadata, but x, y, z"):
        open_source(_ome(tmp_path / "b", VALUES, SPACE, names=["x", "y", "z"]))


@pytest.mark.parametrize("write", ["zarr", "hdf5"])
def test_a_scale_and_an_offset_of_attributes_make_the_values(tmp_path, write):
    stored = VALUES.astype(np.int16) - 100
    facts = {"scale_factor": 0.5, "add_offset": 3.0}
    if write == "zarr":
        path = str(tmp_path / "a")
        zarr.create_array(path, data=stored, chunks=stored.shape).attrs.update(facts)
    else:
        path = f"{tmp_path}/a.h5:raw"
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["raw"] = stored
            file["raw"].attrs.update(facts)
    source = open_source(path, metadata=NM)
    assert source.array.dtype == np.float32
    np.testing.assert_array_equal(source.read(source.grid.box), stored * 0.5 + 3)


def test_signed_integers_that_stand_for_unsigned_ones_are_those(tmp_path):
    true = VALUES.astype(np.uint16) * 260
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t00000/s00/0/cells"] = true.view(np.int16)  # as BigDataViewer writes it
        file["raw"] = true.view(np.int16)
        file["raw"].attrs["_Unsigned"] = "true"
        file["signed"] = true.view(np.int16)
    for name, expected in (
        ("t00000/s00/0/cells", true),
        ("raw", true),
        ("signed", true.view(np.int16)),
    ):
        source = open_source(f"{tmp_path}/a.h5:{name}", metadata=NM)
        assert source.array.dtype == expected.dtype
        np.testing.assert_array_equal(source.read(source.grid.box), expected)


def test_the_palette_and_the_white_of_an_hdf5_image_are_not_passed_over(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["white"], file["indexed"] = VALUES, VALUES
        file["white"].attrs["IMAGE_WHITE_IS_ZERO"] = np.uint8(1)
        file["indexed"].attrs["IMAGE_SUBCLASS"] = np.bytes_("IMAGE_INDEXED")
    source = open_source(f"{tmp_path}/a.h5:white", metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), 255 - VALUES)
    with pytest.raises(SourceError, match="has a palette"):
        open_source(f"{tmp_path}/a.h5:indexed", metadata=NM)
    labels = open_source(f"{tmp_path}/a.h5:indexed", metadata=NM, labels=True)
    np.testing.assert_array_equal(labels.read(labels.grid.box), VALUES)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_transform_of_openorganelle_names_and_places_the_axes(tmp_path, order):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    facts = {
        "axes": ["z", "y", "x"],
        "scale": [40, 8, 4],
        "translate": [400, 0, 20],
        "units": ["nm", "nm", "nm"],
    }
    if order == "F":
        facts = {key: each[::-1] for key, each in facts.items()} | {"order": "F"}
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=values.shape, dtype="u1", attributes={"transform": facts}
    )
    array[...] = values
    source = open_source(str(tmp_path / "a.zarr"))
    assert source.grid == Grid((2, 3, 4), (40, 8, 4), (400, 0, 20))
    np.testing.assert_array_equal(source.read(source.grid.box), values)
    array.attrs["transform"] = {**facts, "axes": ["x", "y", "z"], "order": "C"}
    turned = open_source(str(tmp_path / "a.zarr"), metadata="spacing=1,1,1 unit=nm")
    np.testing.assert_array_equal(turned.read(turned.grid.box), values.T)
