"""Neuroglancer precomputed volumes: chunks by the specification; see also `tests/remote`."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image

from parafovea.errors import SourceError
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.formats.precomputed.compressed_labels import decode_labels
from parafovea.geometry.grid import Grid

VOXELS = np.random.default_rng(0).integers(1, 200, (9, 20, 30), np.uint8)
SIZE, CHUNK, OFFSET = VOXELS.shape[::-1], (16, 8, 4), (100, -20, 0)


def _jpeg(part, kind="JPEG"):
    """Return a chunk (z, y, x[, channel]) as one picture whose rows are those of all planes."""
    rows = part.reshape(-1, *part.shape[2:])
    out = io.BytesIO()
    Image.fromarray(rows).save(out, kind, **({"quality": 100} if kind == "JPEG" else {}))
    return out.getvalue()


def write_scale(path, key, voxels, resolution, *, encode=None, offset=OFFSET, **facts):
    """Write the chunks of a scale, (z, y, x), and return what `info` says of it."""
    (path / key).mkdir(parents=True)
    size = voxels.shape[2::-1]
    counts = [math.ceil(n / k) for n, k in zip(size, CHUNK, strict=True)]
    for index in itertools.product(*map(range, counts)):
        ends = [(i * k, min(n, (i + 1) * k)) for i, k, n in zip(index, CHUNK, size, strict=True)]
        x, y, z = (slice(*each) for each in ends)
        data = (encode or (lambda part: part.tobytes()))(voxels[z, y, x])
        spans = zip(ends, offset, strict=True)
        name = "_".join(f"{start + o}-{stop + o}" for (start, stop), o in spans)
        (path / key / name).write_bytes(data)
    return {
        "key": key,
        "size": list(size),
        "resolution": list(resolution),
        "voxel_offset": list(offset),
        "chunk_sizes": [list(CHUNK)],
        "encoding": "raw",
        **facts,
    }


def write_info(path, *scales, dtype="uint8", channels=1, **facts):
    text = {"data_type": dtype, "num_channels": channels, "type": "image", "scales": scales}
    (path / "info").write_text(json.dumps(text | facts))
    return str(path)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64", "float32"])
def test_raw_chunks(tmp_path, dtype):
    voxels = VOXELS.astype(dtype)
    path = write_info(tmp_path, write_scale(tmp_path, "a", voxels, (2, 2, 4)), dtype=dtype)
    source = open_source(path)
    assert source.grid == Grid(VOXELS.shape, (4, 2, 2), (0, -40, 200))
    assert source_grid(path) == source.grid
    np.testing.assert_array_equal(source.read(source.grid.box), voxels)
    np.testing.assert_array_equal(source.array[2:7, 5:20, 7:9], voxels[2:7, 5:20, 7:9])


@pytest.mark.parametrize(("encoding", "kind"), [("jpeg", "JPEG"), ("png", "PNG")])
def test_pictures(tmp_path, encoding, kind):
    smooth = np.add.outer(np.add.outer(np.arange(9) * 3, np.arange(20)), np.arange(30) * 2)
    voxels = smooth.astype(np.uint8)
    scale = write_scale(
        tmp_path, "a", voxels, (2, 2, 4), encode=lambda part: _jpeg(part, kind), encoding=encoding
    )
    source = open_source(write_info(tmp_path, scale))
    found = source.read(source.grid.box).astype(int)
    assert np.abs(found - voxels).max() <= (2 if encoding == "jpeg" else 0)


def test_channels_of_a_picture(tmp_path):
    voxels = np.stack([VOXELS, VOXELS // 2, VOXELS // 3], axis=-1)
    scale = write_scale(
        tmp_path, "a", voxels, (2, 2, 4), encode=lambda part: _jpeg(part, "PNG"), encoding="png"
    )
    path = write_info(tmp_path, scale, channels=3)
    with pytest.raises(SourceError, match="3 channels"):
        open_source(path)
    source = open_source(path, metadata="channel=1")
    np.testing.assert_array_equal(source.read(source.grid.box), VOXELS // 2)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_chunks_may_be_compressed(tmp_path, ending):
    path = write_info(tmp_path, write_scale(tmp_path, "a", VOXELS, (2, 2, 4)))
    for file in list((tmp_path / "a").iterdir()):
        data = gzip.compress(file.read_bytes())
        file.unlink()
        (tmp_path / "a" / f"{file.name}{ending}").write_bytes(data)
    source = open_source(path)
    np.testing.assert_array_equal(source.read(source.grid.box), VOXELS)


def test_scales_begin_at_the_same_face(tmp_path):
    coarse = np.ascontiguousarray(VOXELS[:, ::2, ::2])
    scales = (
        write_scale(tmp_path, "a", VOXELS, (2, 2, 4)),
        write_scale(tmp_path, "b", coarse, (4, 4, 4), offset=(50, -10, 0)),
    )
    path = write_info(tmp_path, *scales)
    words = {"finer_than": (4, 4, 4), "unit": "nanometer"}
    source = open_source(path, **words)
    assert source.grid == Grid(coarse.shape, (4, 4, 4), (0, -39, 201))
    assert source_grid(path, metadata=parse_metadata("", folder=tmp_path), **words) == source.grid
    np.testing.assert_array_equal(source.read(source.grid.box), coarse)
    part = open_source(path, metadata="region=1:5,2:8,4:12", **words)
    np.testing.assert_array_equal(part.read(part.grid.box), coarse[1:5, 1:4, 2:6])


def _words(*numbers):
    return np.array(numbers, "<u4").tobytes()


def test_compressed_labels_by_hand():
    # two blocks of 2 x 2 x 1: one of a single label, one of two with an index of one bit
    data = _words(1, 4 | 0 << 24, 4, 5 | 1 << 24, 7, 77, 5, 9, 0b0110)
    found = decode_labels(data, (4, 2, 1, 1), np.dtype("u4"), (2, 2, 1))
    np.testing.assert_array_equal(found[:, :, 0, 0].T, [[77, 77, 5, 9], [77, 77, 9, 5]])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        _words(99),
        _words(1, 4),
        _words(1, 4 | 3 << 24, 4, 5 | 1 << 24, 7, 77, 5, 9, 0),
        _words(1, 400, 4, 5 | 1 << 24, 7, 77, 5, 9, 0),
        _words(1, 4, 4, 5 | 1 << 24, 700, 77, 5, 9, 0),
        _words(1, 4, 4, 8 | 1 << 24, 7, 77, 5, 9, 0b0110),
    ],
)
def test_damaged_labels_are_an_error(data):
    with pytest.raises(ValueError):
        decode_labels(data, (4, 2, 1, 1), np.dtype("u4"), (2, 2, 1))


@pytest.mark.parametrize("how", ["cut", "longer", "empty"])
@pytest.mark.parametrize("encoding", ["raw", "jpeg", "png"])
def test_a_damaged_chunk_is_an_error_that_names_it(tmp_path, encoding, how):
    encode = None if encoding == "raw" else lambda part: _jpeg(part, encoding.upper())
    scale = write_scale(tmp_path, "a", VOXELS, (2, 2, 4), encode=encode, encoding=encoding)
    path = write_info(tmp_path, scale)
    file = tmp_path / "a/100-116_-20--12_4-8"
    data = file.read_bytes()
    changed = {"cut": data[: len(data) // 2], "longer": data + data, "empty": b""}
    if encoding != "raw" and how == "longer":
        changed[how] = _jpeg(VOXELS, encoding.upper())
    file.write_bytes(changed[how])
    source = open_source(path)
    with pytest.raises(SourceError, match=rf"{file} is damaged"):
        source.read(source.grid.box)


def test_missing_chunks_are_zeros_that_are_said_and_no_truth(tmp_path, caplog):
    path = write_info(tmp_path, write_scale(tmp_path, "a", VOXELS, (2, 2, 4)))
    (tmp_path / "a/100-116_-20--12_4-8").unlink()
    source = open_source(path)
    assert not source.array[4:8, :8, :16].any()
    assert "holds 17 of 18 chunks" in caplog.text
    with pytest.raises(SourceError, match="truth"):
        open_source(path, labels=True)


def test_chunks_of_another_size_are_not_read_as_zeros(tmp_path):
    scale = write_scale(tmp_path, "a", VOXELS, (2, 2, 4))
    path = write_info(tmp_path, {**scale, "chunk_sizes": [[32, 8, 4]]})
    with pytest.raises(SourceError, match="there are files such as"):
        open_source(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "fpzip"}, "'fpzip', which is not supported"),
        ({"size": [1, 2]}, "three axes"),
        ({"size": [0, 2, 2]}, "no number of voxels"),
        ({"key": "../elsewhere"}, "outside of its folder"),
        ({"sharding": {"@type": "neuroglancer_legacy"}}, "not supported"),
        ({"chunk_sizes": [[2**20, 2**20, 2**20]], "size": [2**20, 2**20, 2**20]}, "each block"),
        ({"chunk_sizes": []}, "does not describe"),
    ],
)
def test_a_description_that_makes_no_sense_is_an_error(tmp_path, change, words):
    (tmp_path / "p").mkdir()
    scale = write_scale(tmp_path / "p", "a", VOXELS, (2, 2, 4))
    with pytest.raises(SourceError, match=words):
        open_source(write_info(tmp_path / "p", {**scale, **change}))


def test_a_folder_of_meshes_is_no_volume(tmp_path):
    path = write_info(tmp_path, write_scale(tmp_path, "a", VOXELS, (2, 2, 4)))
    facts = json.loads((tmp_path / "info").read_text())
    (tmp_path / "info").write_text(json.dumps({"@type": "neuroglancer_skeletons", **facts}))
    with pytest.raises(SourceError, match="neuroglancer_skeletons"):
        open_source(path)


def test_a_file_that_is_only_named_info_marks_nothing(tmp_path):
    for number in range(3):
        Image.fromarray(VOXELS[number]).save(tmp_path / f"{number}.png")
    (tmp_path / "info").write_text("scanned on a Monday")
    source = open_source(str(tmp_path), metadata="spacing=1,1,1 unit=mm")
    assert source.grid.shape == (3, 20, 30)


def test_a_picture_whose_checksum_does_not_match_is_refused(tmp_path):
    scale = write_scale(
        tmp_path, "a", VOXELS, (2, 2, 4), encode=lambda part: _jpeg(part, "PNG"), encoding="png"
    )
    path = write_info(tmp_path, scale)
    chunk = min((tmp_path / "a").iterdir())
    whole = chunk.read_bytes()
    end = whole.index(b"IEND")
    chunk.write_bytes(whole[: end - 8] + bytes(4) + whole[end - 4 :])
    with pytest.raises(SourceError, match="checksum of the PNG chunk"):
        open_source(path).array[:, :, :]
