import json
import shutil
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec

from parafovea.errors import SourceError, SpacingError, VoxelError
from parafovea.formats.location import source_files
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Box, Grid
from parafovea.storage.store import create

NM = SourceMetadata(spacing=(8.0, 4.0, 4.0), unit="nanometer")


def _volume(shape=(6, 10, 8), dtype="u2"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def _array(path, values, **options):
    array = zarr.create_array(
        path, shape=values.shape, dtype=values.dtype, chunks=[min(n, 4) for n in values.shape],
        overwrite=True, **options,
    )  # fmt: skip
    array[...] = values
    return array


def _image(
    path, values, *, axes="zyx", version="0.5", levels=3, unit="nanometer", outer=None, units=None
):
    """Write a pyramid of every second voxel; spacing 8, 4, 4 and origin 80, 0, 4 at level 0."""
    spacing, origin = {"z": 8.0, "y": 4.0, "x": 4.0}, {"z": 80.0, "y": 0.0, "x": 4.0}
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3, overwrite=True)
    datasets = []
    for k in range(levels):
        step = tuple(slice(None, None, 2**k) if a in spacing else slice(None) for a in axes)
        array = group.create_array(
            f"s{k}", shape=values[step].shape, dtype=values.dtype,
            chunks=[min(n, 4) for n in values[step].shape],
        )  # fmt: skip
        array[...] = values[step]
        scale = [spacing.get(a, 1.0) * (2**k if a in spacing else 1) for a in axes]
        move = {"type": "translation", "translation": [origin.get(a, 0.0) for a in axes]}
        datasets.append(
            {
                "path": f"s{k}",
                "coordinateTransformations": [{"type": "scale", "scale": scale}, move],
            }
        )
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    for axis in described:
        if axis["type"] == "space" and unit is not None:
            axis["unit"] = (units or {}).get(axis["name"], unit)
    multiscale = {"version": version, "axes": described, "datasets": datasets}
    if outer:
        multiscale["coordinateTransformations"] = outer
    ome = {"version": version, "multiscales": [multiscale]}
    group.attrs.put({"multiscales": [multiscale]} if version == "0.4" else {"ome": ome})
    return str(path)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_both_versions_of_ome_zarr_read_the_finest_level_by_default(tmp_path, version):
    values = _volume()
    source = open_source(_image(tmp_path / "a.zarr", values, version=version))
    assert source.grid == Grid((6, 10, 8), (8, 4, 4), (80, 0, 4), "nanometer")
    assert source.affine is None
    np.testing.assert_array_equal(source.read(source.grid.box), values)
    box = Box((1, 3, 2), (5, 4, 8))
    np.testing.assert_array_equal(source.read(box), values[box.slices])


@pytest.mark.parametrize(
    ("finer_than", "unit", "step"),
    [
        ((8, 4, 4), "nanometer", 1),
        ((15, 8, 8), "nanometer", 1),
        ((16, 8, 8), "nanometer", 2),
        ((0.016, 0.008, 0.008), "micrometer", 2),
        ((16, 8, 8), None, 2),
        ((500, 500, 500), "nanometer", 4),
        ((500, 500, 8), "nanometer", 2),
        ((1, 1, 1), "nanometer", 1),
    ],
)
def test_the_coarsest_level_that_is_fine_enough_is_read(tmp_path, finer_than, unit, step):
    values = _volume()
    source = open_source(_image(tmp_path / "a.zarr", values), finer_than=finer_than, unit=unit)
    np.testing.assert_array_equal(source.read(source.grid.box), values[::step, ::step, ::step])
    assert source.grid.spacing == (8 * step, 4 * step, 4 * step)


def test_spacing_from_the_user_is_that_of_the_first_level(tmp_path):
    path = _image(tmp_path / "a.zarr", _volume())
    metadata = SourceMetadata(spacing=(80.0, 40.0, 40.0), unit="nanometer")
    source = open_source(path, metadata=metadata, finer_than=(200, 100, 100), unit="nanometer")
    assert source.grid == Grid((3, 5, 4), (160, 80, 80), (800, 0, 40), "nanometer")


def test_transformations_of_the_whole_image_come_after_those_of_a_level(tmp_path):
    outer = [
        {"type": "scale", "scale": [2, 2, 2]},
        {"type": "translation", "translation": [1, 2, 3]},
    ]
    source = open_source(_image(tmp_path / "a.zarr", _volume(), outer=outer))
    assert source.grid.spacing == (16, 8, 8)
    assert source.grid.origin == (161, 2, 11)


def test_axes_may_differ_in_unit_and_order(tmp_path):
    values = _volume()
    path = _image(tmp_path / "a.zarr", values, axes="xyz", units={"z": "micrometer"})
    source = open_source(path)
    assert source.grid == Grid((8, 10, 6), (8000, 4, 4), (80000, 0, 4), "nanometer")
    np.testing.assert_array_equal(source.read(source.grid.box), values.T)


def test_axes_of_length_one_are_dropped_and_channels_are_chosen(tmp_path):
    values = _volume((1, 2, 6, 10, 8))
    path = _image(tmp_path / "a.zarr", values, axes="tczyx", version="0.4")
    with pytest.raises(SourceError, match="2 channels: write channel=0"):
        open_source(path)
    source = open_source(path, metadata=SourceMetadata(channel=1))
    np.testing.assert_array_equal(source.read(source.grid.box), values[0, 1])


def test_a_time_series_is_refused(tmp_path):
    path = _image(tmp_path / "a.zarr", _volume((2, 6, 10, 8)), axes="tzyx")
    with pytest.raises(SourceError, match="2 elements along the axis t"):
        open_source(path)


def test_a_plane_has_one_voxel_along_z_but_needs_its_thickness(tmp_path):
    values = _volume((10, 8))
    path = _image(tmp_path / "a.zarr", values, axes="yx")
    with pytest.raises(SpacingError, match="spacing=Z,4,4 unit=nanometer"):
        open_source(path)
    source = open_source(path, metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), values[None])


def test_a_unit_that_the_image_lacks_is_asked_for(tmp_path):
    path = _image(tmp_path / "a.zarr", _volume(), unit=None)
    with pytest.raises(SpacingError, match="spacing=8,4,4 unit=nanometer"):
        open_source(path)
    assert open_source(path, metadata=SourceMetadata(unit="um")).grid.unit == "micrometer"


def test_a_level_named_itself_keeps_its_place(tmp_path):
    values = _volume()
    source = open_source(_image(tmp_path / "a.zarr", values) + "/s1")
    assert source.grid == Grid((3, 5, 4), (16, 8, 8), (80, 0, 4), "nanometer")
    np.testing.assert_array_equal(source.read(source.grid.box), values[::2, ::2, ::2])


def test_what_the_workflow_stores_is_a_source(tmp_path):
    grid = Grid((6, 10, 8), (8, 4, 4), (4, 2, 2), "nanometer")
    with create(tmp_path / "volume.ome.zarr", grid, dtype="u2") as array:
        array[...] = _volume()
    source = open_source(str(tmp_path / "volume.ome.zarr"))
    assert source.grid == grid
    np.testing.assert_array_equal(source.read(grid.box), _volume())


@pytest.mark.parametrize(
    "options",
    [
        {"zarr_format": 2},
        {"zarr_format": 2, "order": "F"},
        {"zarr_format": 2, "compressors": numcodecs.LZ4()},
        {"zarr_format": 2, "filters": [numcodecs.Delta(dtype="<u2")]},
        {"zarr_format": 3},
        {"zarr_format": 3, "serializer": BytesCodec(endian="big")},
    ],
)
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_arrays_of_every_layout_are_read(tmp_path, options, dtype):
    values = _volume()
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
        _array(tmp_path / "a.zarr", values.astype(dtype), **options)
    source = open_source(str(tmp_path / "a.zarr"), metadata=NM)
    assert source.array.dtype == np.uint16
    box = Box((1, 3, 2), (5, 9, 8))
    np.testing.assert_array_equal(source.read(box), values[box.slices])


def test_attributes_place_a_plain_array(tmp_path):
    array = _array(tmp_path / "a.zarr", _volume())
    array.attrs.update({"voxel_size": [8, 4, 4], "units": ["nm"] * 3, "offset": [16, 0, 4]})
    assert open_source(str(tmp_path / "a.zarr")).grid == Grid(
        (6, 10, 8), (8, 4, 4), (16, 0, 4), "nanometer"
    )
    with pytest.raises(SourceError, match="no channel 1"):
        open_source(str(tmp_path / "a.zarr"), metadata=SourceMetadata(channel=1))


def test_booleans_read_as_zero_and_one(tmp_path):
    _array(tmp_path / "a.zarr", _volume() > 9)
    source = open_source(str(tmp_path / "a.zarr"), metadata=NM)
    values = source.read(source.grid.box)
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, _volume() > 9)


def test_a_group_names_its_arrays(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_group("em").create_array("raw", shape=(2, 3, 4), dtype="u1")
    with pytest.raises(SourceError, match=r"a\.zarr/em/raw \(2, 3, 4\) uint8"):
        open_source(str(tmp_path / "a.zarr"), metadata=NM)
    zarr.create_group(tmp_path / "b.zarr")
    with pytest.raises(SourceError, match="has no arrays"):
        open_source(str(tmp_path / "b.zarr"), metadata=NM)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5)])
def test_other_numbers_of_axes_are_refused(tmp_path, shape):
    _array(tmp_path / "a.zarr", _volume(shape))
    with pytest.raises(SourceError, match=rf"shape \({', '.join(map(str, shape))}.*axes"):
        open_source(str(tmp_path / "a.zarr"), metadata=NM)


def test_an_array_without_voxels_is_refused(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 0, 3), dtype="u1")
    with pytest.raises(VoxelError, match="no voxels along y"):
        open_source(str(tmp_path / "a.zarr"), metadata=NM)


def test_complex_numbers_are_refused(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 2, 3), dtype="c8")
    with pytest.raises(SourceError, match="complex numbers"):
        open_source(str(tmp_path / "a.zarr"), metadata=NM)


@pytest.mark.parametrize("content", ["{", '{"node_type": "array"}', '{"zarr_format": 9}'])
def test_broken_metadata_are_named(tmp_path, content):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text(content)
    with pytest.raises(SourceError, match=r"a\.zarr cannot be read"):
        open_source(str(tmp_path / "a.zarr"), metadata=NM)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("axes"),
        lambda m: m["datasets"].clear(),
        lambda m: m["axes"].pop(),
        lambda m: m["datasets"][0].pop("path"),
        lambda m: m["datasets"][0]["coordinateTransformations"][0].update(type="affine"),
        lambda m: m["datasets"][0]["coordinateTransformations"][0]["scale"].pop(),
    ],
)
def test_malformed_ome_metadata_are_named(tmp_path, change):
    path = _image(tmp_path / "a.zarr", _volume())
    file = Path(path) / "zarr.json"
    content = json.loads(file.read_text())
    change(content["attributes"]["ome"]["multiscales"][0])
    file.write_text(json.dumps(content))
    with pytest.raises(SourceError, match="do not follow their version"):
        open_source(path)


def test_a_level_that_is_missing_is_named(tmp_path):
    path = _image(tmp_path / "a.zarr", _volume())
    shutil.rmtree(Path(path) / "s0")
    with pytest.raises(SourceError, match="s0 is named by the OME-Zarr metadata"):
        open_source(path)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_damaged_chunk_is_found_when_it_is_read(tmp_path, zarr_format):
    _array(tmp_path / "a.zarr", _volume(), zarr_format=zarr_format)
    chunk = tmp_path / "a.zarr" / ("c/0/0/0" if zarr_format == 3 else "0.0.0")
    chunk.write_bytes(chunk.read_bytes()[:7])
    source = open_source(str(tmp_path / "a.zarr"), metadata=NM)
    with pytest.raises(SourceError, match=f"{chunk} is damaged"):
        source.read(source.grid.box)
    far = Box((4, 4, 4), (6, 8, 8))
    np.testing.assert_array_equal(source.read(far), _volume()[far.slices])


def _old_image(path, version, values):
    axes = {"axes": ["t", "c", "z", "y", "x"]} if version == "0.3" else {}
    group = zarr.create_group(path, zarr_format=2)
    for level in range(2):
        step = slice(None, None, 2**level)
        _array(f"{path}/{level}", values[None, None, step, step, step], zarr_format=2)
    datasets = [{"path": str(level)} for level in range(2)]
    group.attrs["multiscales"] = [{"version": version, **axes, "datasets": datasets}]
    return str(path)


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_images_of_older_versions_take_their_spacing_from_the_sheet(tmp_path, version):
    values = _volume()
    path = _old_image(tmp_path / "a.zarr", version, values)
    with pytest.raises(SpacingError, match="does not state how large its voxels are"):
        open_source(path)
    source = open_source(path, metadata=NM, finer_than=(100, 100, 100), unit="nanometer")
    assert source.grid == Grid((6, 10, 8), (8, 4, 4))
    np.testing.assert_array_equal(source.read(source.grid.box), values)
    coarse = open_source(f"{path}/1", metadata=NM)
    assert coarse.grid == Grid((3, 5, 4), (8, 4, 4))


def test_a_bad_parent_does_not_spoil_a_plain_array(tmp_path, caplog):
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    group.attrs["multiscales"] = [{"version": "0.4", "datasets": "nonsense"}]
    _array(f"{tmp_path}/a.zarr/raw", _volume(), zarr_format=2)
    source = open_source(f"{tmp_path}/a.zarr/raw", metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), _volume())
    assert "is read as a plain array" in caplog.text


@pytest.mark.parametrize(
    ("finer_than", "step"), [((16, 16, 16), 4), ((40, 8, 8), 2), ((16, 16, 7), 1), ((1, 1, 1), 1)]
)
def test_levels_of_thick_sections_are_chosen_by_axis(tmp_path, finer_than, step):
    values = _volume((3, 32, 32))
    group = zarr.create_group(tmp_path / "a.zarr")
    datasets = []
    for k in (1, 2, 4, 8):
        _array(f"{tmp_path}/a.zarr/{k}", values[:, ::k, ::k].copy())
        scale = {"type": "scale", "scale": [40.0, 4.0 * k, 4.0 * k]}
        datasets.append({"path": str(k), "coordinateTransformations": [scale]})
    axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    source = open_source(str(tmp_path / "a.zarr"), finer_than=finer_than, unit="nanometer")
    assert source.grid.spacing == (40, 4 * step, 4 * step)
    np.testing.assert_array_equal(source.read(source.grid.box), values[:, ::step, ::step])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_files_of_the_metadata_belong_to_a_source(tmp_path, version):
    path = _image(tmp_path / "a.ome.zarr", _volume(), version=version, levels=2)
    names = (".zgroup", ".zattrs", "s0/.zarray", "s1/.zarray")
    if version == "0.5":
        names = ("zarr.json", "s0/zarr.json", "s1/zarr.json")
    found = source_files(path)
    assert found[0] == path
    assert {f"{path}/{name}" for name in names} <= {*found}
    of_level = source_files(f"{path}/s1")
    assert f"{path}/{names[1 if version == '0.4' else 0]}" in of_level
