"""N5: blocks by the specification, places by the conventions of its writers."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from n5_files import PACKED, write_dataset

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.location import source_files
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.geometry.grid import Grid
from parafovea.storage.contents import Contents

VOXELS = np.random.default_rng(0).integers(1, 200, (9, 20, 30), np.uint16)
SAID = "spacing=4,2,2 unit=nm"


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("dtype", ["u1", "u8", "i2", "f4"])
def test_blocks_are_those_of_the_specification(tmp_path, packing, dtype):
    voxels = VOXELS.astype(dtype)
    path = write_dataset(tmp_path / "a.n5", voxels, packing=packing)
    source = open_source(str(path), metadata=SAID)
    assert source.array.dtype == dtype
    np.testing.assert_array_equal(source.read(source.grid.box), voxels)
    np.testing.assert_array_equal(source.array[2:7, 5:20, 7:9], voxels[2:7, 5:20, 7:9])


def _written(path, levels, group):
    (path).mkdir(parents=True)
    (path / "attributes.json").write_text(json.dumps(group))
    for name, (voxels, attributes) in levels.items():
        write_dataset(path / name, voxels, **attributes)
    return str(path)


COARSE = VOXELS[::2, ::2, ::2]


def _cosem(scale, shift):
    return {
        "transform": {
            "axes": ["z", "y", "x"],
            "scale": scale,
            "translate": shift,
            "units": ["nm", "nm", "nm"],
        }
    }


#: Group and level attributes as programs write them, of voxels (4, 2, 2) nm and twice that.
CONVENTIONS = {
    "OpenOrganelle, in each level": (
        {},
        _cosem([4, 2, 2], [0, 0, 0]),
        _cosem([8, 4, 4], [2, 1, 1]),
    ),
    "OpenOrganelle, in the group": (
        {
            "multiscales": [
                {
                    "datasets": [
                        {"path": "s0", **_cosem([4, 2, 2], [0, 0, 0])},
                        {"path": "s1", **_cosem([8, 4, 4], [2, 1, 1])},
                    ]
                }
            ]
        },
        {},
        {},
    ),
    "N5 viewer, in the group": (
        {
            "pixelResolution": {"dimensions": [2, 2, 4], "unit": "nm"},
            "scales": [[1, 1, 1], [2, 2, 2]],
        },
        {},
        {},
    ),
    "N5 viewer, that of the finest in each level": (
        {},
        {
            "pixelResolution": {"dimensions": [2, 2, 4], "unit": "nm"},
            "downsamplingFactors": [1, 1, 1],
        },
        {
            "pixelResolution": {"dimensions": [2, 2, 4], "unit": "nm"},
            "downsamplingFactors": [2, 2, 2],
        },
    ),
    "the size of each level in it": (
        {},
        {"pixelResolution": {"dimensions": [2, 2, 4], "unit": "nm"}},
        {"pixelResolution": {"dimensions": [4, 4, 8], "unit": "nm"}},
    ),
    "OpenOrganelle, in the order of N5": (
        {},
        {
            "transform": {
                "axes": ["x", "y", "z"],
                "scale": [2, 2, 4],
                "translate": [0, 0, 0],
                "units": ["nm", "nm", "nm"],
                "order": "F",
            }
        },
        _cosem([8, 4, 4], [2, 1, 1]),
    ),
    "Neuroglancer": (
        {"resolution": [2, 2, 4], "units": ["nm", "nm", "nm"], "axes": ["x", "y", "z"]},
        {},
        {"downsamplingFactors": [2, 2, 2]},
    ),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_levels_lie_where_their_writers_say(tmp_path, name):
    group, fine, coarse = CONVENTIONS[name]
    path = _written(tmp_path / "a.n5", {"s0": (VOXELS, fine), "s1": (COARSE, coarse)}, group)
    first = Grid(VOXELS.shape, (4, 2, 2))
    second = Grid(COARSE.shape, (8, 4, 4), (2, 1, 1))
    for level, finer, grid, voxels in (
        ("s0", (4, 2, 2), first, VOXELS),
        ("s1", (8, 4, 4), second, COARSE),
    ):
        for place in (path, f"{path}/{level}"):
            words = {"finer_than": finer, "unit": "nanometer"}
            source = open_source(place, **words)
            assert source.grid == grid, place
            np.testing.assert_array_equal(source.read(grid.box), voxels)
            assert source_grid(place, **words) == grid


def test_groups_around_say_what_a_group_leaves_open(tmp_path):
    """As those of the BigDataViewer, and the root attributes of the N5 viewer."""
    path = tmp_path / "a.n5"
    levels = {"s0": (VOXELS, {}), "s1": (COARSE, {})}
    place = _written(path / "setup0/timepoint0", levels, {"multiScale": True})
    (path / "setup0/attributes.json").write_text(
        '{"downsamplingFactors": [[1, 1, 1], [2, 2, 2]], "dataType": "uint16"}'
    )
    root = {"pixelResolution": {"dimensions": [2, 2, 4], "unit": "nm"}, "axes": ["x", "y", "z"]}
    (path / "setup0/timepoint0/attributes.json").write_text(json.dumps(root))
    source = open_source(place, finer_than=(8, 4, 4), unit="nanometer")
    assert source.grid == Grid(COARSE.shape, (8, 4, 4), (2, 1, 1))
    assert open_source(f"{place}/s1").grid == source.grid
    assert f"{path}/setup0/attributes.json" in source_files(place)


def test_a_sheared_place_is_not_left_out(tmp_path):
    words = {"affineTransform": [[1, -0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}
    path = write_dataset(tmp_path / "a.n5", VOXELS, **words)
    with pytest.raises(SourceError, match="affineTransform, which is not followed"):
        open_source(str(path), metadata=SAID)
    straight = {"affineTransform": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}
    path = write_dataset(tmp_path / "b.n5", VOXELS, **straight)
    assert open_source(str(path), metadata=SAID).grid.shape == VOXELS.shape


def test_a_group_without_attributes_is_known_by_its_first_level(tmp_path):
    fine, coarse = CONVENTIONS["the size of each level in it"][1:]
    path = tmp_path / "a.n5"
    write_dataset(path / "s0", VOXELS, **fine)
    write_dataset(path / "s1", COARSE, **coarse)
    assert open_source(str(path)).grid == Grid(VOXELS.shape, (4, 2, 2))
    files = source_files(str(path))
    assert [file.removeprefix(str(path)) for file in files] == [
        "",
        "/s0/attributes.json",
        "/s1/attributes.json",
    ]


def test_axes_may_have_channels(tmp_path):
    voxels = np.stack([VOXELS, VOXELS // 2])
    path = write_dataset(tmp_path / "a.n5", voxels, (8, 8, 4, 1), axes=["x", "y", "z", "c"])
    with pytest.raises(SourceError, match="2 channels"):
        open_source(str(path), metadata=SAID)
    source = open_source(str(path), metadata=f"{SAID} channel=1")
    np.testing.assert_array_equal(source.read(source.grid.box), VOXELS // 2)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dataType": "object"}, SourceError, "'object' instead of numbers"),
        ({"dimensions": [3, 4]}, SourceError, "does not describe an array"),
        ({"blockSize": [0, 1, 1]}, SourceError, "does not describe an array"),
        ({"blockSize": [2**20, 2**20, 9]}, SourceError, "each block"),
        ({"compression": {"type": "lz4"}}, SourceError, "'lz4', which is not supported"),
        ({"pixelResolution": [1, 2]}, SpacingError, "unit"),
        ({"pixelResolution": "big"}, SourceError, "do not describe where"),
        ({"transform": {"axes": ["a", "b", "c"], "scale": [1, 1, 1]}}, SourceError, "axes"),
        ({"axes": ["x", "y", "y"]}, SourceError, "axes x, y, y"),
        ({}, SpacingError, "spacing"),
    ],
)
def test_attributes_that_make_no_sense_are_an_error(tmp_path, change, error, words):
    path = write_dataset(tmp_path / "a.n5", VOXELS)
    facts = json.loads((path / "attributes.json").read_text())
    (path / "attributes.json").write_text(json.dumps(facts | change))
    with pytest.raises(error, match=words):
        open_source(str(path))


def test_levels_that_contradict_their_factors_are_an_error(tmp_path):
    levels = {
        "s0": (VOXELS, {"pixelResolution": {"dimensions": [2, 2, 4], "unit": "nm"}}),
        "s1": (
            COARSE,
            {
                "pixelResolution": {"dimensions": [6, 6, 6], "unit": "nm"},
                "downsamplingFactors": [2, 2, 2],
            },
        ),
    }
    path = _written(tmp_path / "a.n5", levels, {})
    with pytest.raises(SourceError, match="by its factors"):
        open_source(path)


def test_a_group_of_datasets_names_them(tmp_path):
    (tmp_path / "a.n5").mkdir()
    (tmp_path / "a.n5/attributes.json").write_text('{"n5": "2.0.0"}')
    write_dataset(tmp_path / "a.n5/em/raw", VOXELS)
    with pytest.raises(SourceError, match="give one of its datasets: em/raw"):
        open_source(str(tmp_path / "a.n5"), metadata=SAID)


def _damaged(data, how):
    if how == "cut":
        return data[:-5]
    if how == "longer":
        return data + b"\0\0"
    if how == "header":
        return data[:7]
    if how == "mode":
        return struct.pack(">H", 2) + data[2:]
    # more voxels than a block has
    return data[:4] + struct.pack(">I", 999) + data[8:]


@pytest.mark.parametrize("how", ["cut", "longer", "header", "mode", "shape"])
@pytest.mark.parametrize("packing", PACKED)
def test_a_damaged_block_is_an_error_that_names_it(tmp_path, packing, how):
    path = write_dataset(tmp_path / "a.n5", VOXELS, packing=packing)
    file = path / "1/2/0"
    file.write_bytes(_damaged(file.read_bytes(), how))
    source = open_source(str(path), metadata=SAID)
    with pytest.raises(SourceError, match=rf"{file} is damaged"):
        source.read(source.grid.box)


def test_a_block_with_fewer_voxels_than_lie_there_is_an_error(tmp_path):
    path = write_dataset(tmp_path / "a.n5", VOXELS, packing="raw")
    part = VOXELS[:4, :8, :5].T
    data = struct.pack(">HHIII", 0, 3, *part.shape) + part.astype(">u2").tobytes(order="F")
    (path / "0/0/0").write_bytes(data)
    source = open_source(str(path), metadata=SAID)
    with pytest.raises(SourceError, match="lie in the array"):
        source.read(source.grid.box)


def test_missing_blocks_are_zeros_that_are_said_and_no_truth(tmp_path, caplog):
    path = write_dataset(tmp_path / "a.n5", VOXELS)
    (path / "0/0/0").unlink()
    source = open_source(str(path), metadata=SAID)
    assert not source.array[:4, :8, :8].any()
    assert "holds 35 of 36 chunks" in caplog.text
    with pytest.raises(SourceError, match="truth"):
        open_source(str(path), metadata=SAID, labels=True)
    for file in path.glob("*/*/*"):
        file.unlink()
    with pytest.raises(SourceError, match="holds 0 of 36 chunks"):
        open_source(str(path), metadata=SAID)


def test_a_block_that_values_of_the_next_level_show_was_lost(tmp_path):
    fine, coarse = CONVENTIONS["the size of each level in it"][1:]
    voxels = np.full((16, 32, 32), 7, np.uint8)
    levels = {
        "s0": (voxels, {"block": (16, 16, 16), **fine}),
        "s1": (voxels[::2, ::2, ::2], coarse),
    }
    path = _written(tmp_path / "a.n5", levels, {})
    (tmp_path / "a.n5/s0/1/0/0").unlink()
    with pytest.raises(SourceError, match="has values in the next level"):
        open_source(path)


def test_the_content_of_a_folder_is_compared_by_all_its_blocks(tmp_path):
    path = write_dataset(tmp_path / "a.n5", VOXELS, packing="raw")
    before = Contents().digest(path)
    file = path / "1/1/1"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    assert Contents().digest(path) != before


def test_a_planned_grid_needs_no_zarr(tmp_path):
    import subprocess
    import sys

    path = write_dataset(tmp_path / "a.n5", VOXELS)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from parafovea.formats.metadata.column import parse_metadata\n"
        "from parafovea.formats.opening import source_grid\n"
        f"said = parse_metadata({SAID!r}, folder=Path())\n"
        f"print(source_grid({str(path)!r}, metadata=said).shape)\n"
        "assert not {'zarr', 'torch', 'obstore'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{VOXELS.shape}\n", "")
    assert source_grid(str(path), metadata=parse_metadata(SAID, folder=tmp_path)).shape == (
        9,
        20,
        30,
    )
