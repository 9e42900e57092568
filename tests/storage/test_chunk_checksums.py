"""A store says which of its chunks has changed since it was written, or is not there any more."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec

from parafovea.errors import SourceError, StoreError
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.symmetry import Symmetry
from parafovea.storage import store
from parafovea.storage.chunk_files import EVERY_FILE
from parafovea.storage.store import LabelImage, Turned, create, open_stored

GRID = Grid((48, 40, 40), (1, 1, 1))
VALUES = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float16)
CHUNK = (16, 20, 20)


def _written(path: Path, **options: object) -> list[Path]:
    """Return the files of the chunks of a store."""
    with create(path, GRID, dtype="f2", attributes={}, chunk=CHUNK, **options) as array:
        array[...] = VALUES if array.ndim == 3 else VALUES[None]
    return sorted(file for file in (path / "0" / "c").rglob("*") if file.is_file())


@pytest.mark.parametrize(
    "options",
    [
        {"shard": (48, 40, 40)},
        {"shard": (16, 40, 40), "codec": "lz4"},
        {"shard": None},
        {"shard": None, "channels": ("one",)},
    ],
    ids=["one shard", "shards", "chunks", "channels"],
)
def test_every_changed_bit_is_found_and_its_file_named(tmp_path, options):
    files = _written(tmp_path / "a.ome.zarr", **options)
    random = np.random.default_rng(1)
    for k in range(60):
        file = files[k % len(files)]
        whole = file.read_bytes()
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        file.write_bytes(damaged)
        stored = open_stored(tmp_path / "a.ome.zarr")
        with pytest.raises(StoreError, match=f"{file} is damaged .*: delete this result"):
            stored.read()
        file.write_bytes(whole)
    np.testing.assert_array_equal(open_stored(tmp_path / "a.ome.zarr").read().squeeze(), VALUES)


def test_a_read_elsewhere_is_not_disturbed_and_a_view_names_the_file_too(tmp_path):
    files = _written(tmp_path / "a.ome.zarr", shard=(16, 40, 40))
    files[0].write_bytes(files[0].read_bytes()[:-1])
    stored = open_stored(tmp_path / "a.ome.zarr")
    far = Box((16, 0, 0), (48, 40, 40))
    np.testing.assert_array_equal(stored.read(far), VALUES[16:])
    turned = Turned.of(stored, Symmetry.named("flip_x"))
    for view in (stored, turned):
        with pytest.raises(StoreError, match=str(files[0])):
            view.read(Box((15, 0, 0), (17, 1, 1)))


def test_label_images_within_a_store_have_checksums(tmp_path):
    mask = LabelImage(VALUES > 0, GRID)
    with create(
        tmp_path / "a.ome.zarr", GRID, dtype="f2", attributes={}, label_images={"body": mask}
    ):
        pass
    place = tmp_path / "a.ome.zarr" / "labels" / "body"
    file = place / "0/c/0/0/0"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(StoreError, match=str(file)):
        open_stored(place).read()


def test_zarr_reads_a_store_by_itself(tmp_path):
    _written(tmp_path / "a.ome.zarr", shard=(48, 40, 40))
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
        array = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")["0"]
        np.testing.assert_array_equal(array[...], VALUES)
    source = open_source(str(tmp_path / "a.ome.zarr"))
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)


def test_a_store_without_checksums_opens(tmp_path, monkeypatch):
    def without(group, level, shape, chunks, shards, names, dtype, codec):
        blosc = BloscCodec(cname=codec, clevel=1, shuffle="shuffle")
        return group.create_array(
            str(level), shape=shape, chunks=chunks, shards=shards, dtype=dtype,
            dimension_names=names, compressors=blosc, fill_value=0,
        )  # fmt: skip

    monkeypatch.setattr(store, "_new_array", without)
    _written(tmp_path / "a.ome.zarr", shard=(48, 40, 40))
    # the only one is that of the shards' own table
    assert (tmp_path / "a.ome.zarr/0/zarr.json").read_text().count("crc32c") == 1
    np.testing.assert_array_equal(open_stored(tmp_path / "a.ome.zarr").read(), VALUES)


@pytest.mark.parametrize(
    "values", [VALUES, np.zeros_like(VALUES), np.where(VALUES[:1] > 0, 0, VALUES)]
)
@pytest.mark.parametrize(
    "options", [{"shard": (16, 40, 40)}, {"shard": None, "channels": ("one",)}]
)
def test_a_deleted_file_is_an_error_that_names_it_whatever_it_held(tmp_path, values, options):
    path = tmp_path / "a.ome.zarr"
    with create(path, GRID, dtype="f2", attributes={}, chunk=CHUNK, **options) as array:
        if values.any():
            array[...] = values if array.ndim == 3 else values[None]
    np.testing.assert_array_equal(open_stored(path).read().squeeze(), values)
    np.testing.assert_array_equal(np.asarray(zarr.open_array(path / "0")[:]).squeeze(), values)
    source = open_source(str(path))
    np.testing.assert_array_equal(source.read(source.grid.box), values)
    files = sorted(file for file in (path / "0" / "c").rglob("*") if file.is_file())
    assert len(files) == (3 if options["shard"] else 3 * 2 * 2)
    for file in files:
        whole = file.read_bytes()
        file.unlink()
        with pytest.raises(StoreError, match=f"{file} is missing: delete this result and run"):
            open_stored(path).read()
        key = str(file.relative_to(path / "0"))
        with pytest.raises(SourceError, match=f"was written with all of them: {key} is missing"):
            open_source(str(path))
        with pytest.raises(SourceError, match=f"{file} is missing"):
            source.read(source.grid.box)
        file.write_bytes(whole)
    for file in files:
        file.unlink()
    with pytest.raises(SourceError, match=r"holds 0 of .* was written with all of them"):
        open_source(str(path))


def test_a_job_that_writes_a_part_writes_no_files_of_others(tmp_path):
    path, box = tmp_path / "a.ome.zarr", Box((16, 0, 0), (48, 40, 40))
    with create(path, GRID, dtype="f2", chunk=CHUNK, shard=(16, 40, 40), box=box) as array:
        array[16:32] = VALUES[16:32]
    there = sorted(str(f.relative_to(path / "0")) for f in path.rglob("c/*/*/*"))
    assert there == ["c/1/0/0", "c/2/0/0"]
    np.testing.assert_array_equal(open_stored(path).read(Box((32, 0, 0), (48, 40, 40))), 0)
    with pytest.raises(StoreError, match="c/0/0/0 is missing"):
        open_stored(path).read()


def test_results_of_earlier_versions_lack_the_files_of_their_empty_shards(tmp_path):
    path = tmp_path / "a.ome.zarr"
    with create(path, GRID, dtype="f2", chunk=CHUNK, shard=(16, 40, 40)) as array:
        array[16:32] = VALUES[16:32]
    del zarr.open_array(path / "0", mode="r+").attrs[EVERY_FILE]
    del zarr.open_group(path, mode="r+").attrs["parafovea_sha256"]
    (path / "0/c/0/0/0").unlink()
    assert not open_stored(path).read()[:16].any()
    assert open_source(str(path)).read(GRID.box)[16:32].any()


def test_every_changed_number_or_word_of_the_metadata_is_found(tmp_path):
    files = _written(tmp_path / "a.ome.zarr", shard=(16, 40, 40))
    path = tmp_path / "a.ome.zarr"
    array = (path / "0/zarr.json").read_text()
    image = json.loads((path / "zarr.json").read_text())
    own = json.dumps(image["attributes"]["parafovea"])
    changed = [array.replace(word, new, 1) for word, new in (
        ("48", "32"), ("40", "30"), ("float16", "int16"), ("little", "big"), ("true", "false"),
        ('"shuffle": "shuffle"', '"shuffle": "noshuffle"'), ('"x"', '"y"'), ("0.0", "1.0"),
    )]  # fmt: skip
    for text in changed:
        assert text != array
        (path / "0/zarr.json").write_text(text)
        with pytest.raises(StoreError, match=r"a\.ome\.zarr"):
            open_stored(path)
    (path / "0/zarr.json").write_text(array)
    for word, new in (("48", "32"), ("1.0", "2.0"), ("nanometer", "micrometer"), ("null", '["a"]')):
        assert word in own
        image["attributes"]["parafovea"] = json.loads(own.replace(word, new, 1))
        (path / "zarr.json").write_text(json.dumps(image))
        with pytest.raises(
            StoreError, match=r"a\.ome\.zarr/zarr\.json or .* is damaged .the checks"
        ):
            open_stored(path)
    image["attributes"]["parafovea"] = json.loads(own)
    # what a viewer adds changes nothing
    image["attributes"]["ome"]["omero"] = {"channels": []}
    (path / "zarr.json").write_text(json.dumps(image))
    np.testing.assert_array_equal(open_stored(path).read(), VALUES)
    (path / "zarr.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match="is not a complete result"):
        open_stored(path)
    assert files
