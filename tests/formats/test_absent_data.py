"""Data that is not there: files of virtual datasets, chunks under other keys, lost chunks."""

import json
import shutil

import h5py
import numpy as np
import pytest
import zarr
from numcodecs import Blosc

from parafovea.errors import SourceError
from parafovea.formats.location import source_files
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import Grid
from parafovea.storage.store import create

NM = SourceMetadata(spacing=(8.0, 4.0, 4.0), unit="nanometer")
VALUES = np.random.default_rng(2).integers(1, 250, (8, 8, 8), dtype=np.uint8)


def _virtual(tmp_path, inner="raw"):
    layout = h5py.VirtualLayout(VALUES.shape, "u1")
    for part in range(2):
        with h5py.File(tmp_path / f"part{part}.h5", "w") as file:
            file[inner] = VALUES[4 * part : 4 * part + 4]
        layout[4 * part : 4 * part + 4] = h5py.VirtualSource(f"part{part}.h5", "raw", (4, 8, 8))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    return f"{tmp_path}/all.h5:raw"


def test_a_virtual_dataset_needs_all_of_its_files(tmp_path):
    path = _virtual(tmp_path)
    source = open_source(path, metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
    (tmp_path / "part1.h5").rename(tmp_path / "elsewhere.h5")
    with pytest.raises(SourceError, match=r"1 are missing or lack their dataset: part1\.h5"):
        open_source(path, metadata=NM)


def test_the_files_of_a_virtual_dataset_belong_to_the_source(tmp_path):
    path = _virtual(tmp_path)
    names = [str(tmp_path / name) for name in ("all.h5", "part0.h5", "part1.h5")]
    assert source_files(path) == names
    with pytest.raises(SourceError, match="changed or disappeared"), unchanged(path) as check:
        with h5py.File(tmp_path / "part1.h5", "a") as file:
            file["more"] = VALUES
        check()


def test_a_virtual_dataset_needs_the_datasets_of_its_files(tmp_path):
    with pytest.raises(SourceError, match=r"part0\.h5, part1\.h5: copy them"):
        open_source(_virtual(tmp_path, "other"), metadata=NM)


def test_voxels_in_a_file_of_their_own_have_to_be_there(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        part = str(tmp_path / "a.raw")
        external = [(part, 0, VALUES.nbytes)]
        file.create_dataset("raw", data=VALUES, external=external)
    path = f"{tmp_path}/a.h5:raw"
    source = open_source(path, metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
    (tmp_path / "a.raw").write_bytes(VALUES.tobytes()[:200])
    with pytest.raises(SourceError, match=r"a\.raw, which is missing or too short"):
        open_source(path, metadata=NM)


def test_an_hdf5_dataset_that_was_never_written_is_refused_and_parts_of_one_are_said(
    tmp_path, caplog
):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("none", VALUES.shape, "u1")
        file.create_dataset("no_chunk", VALUES.shape, "u1", chunks=(4, 4, 4))
        file.create_dataset("half", VALUES.shape, "u1", chunks=(4, 4, 4))[:4] = VALUES[:4]
    for name in ("none", "no_chunk"):
        with pytest.raises(SourceError, match=f"{name} was never written"):
            open_source(f"{tmp_path}/a.h5:{name}", metadata=NM)
    open_source(f"{tmp_path}/a.h5:half", metadata=NM)
    assert "4 of 8 chunks are in the file" in caplog.text


def _zarr(path, values=VALUES, **options):
    array = zarr.create_array(
        path, shape=values.shape, dtype=values.dtype, chunks=(4, 4, 4), **options
    )
    array[...] = values
    return str(path)


@pytest.mark.parametrize(
    ("stored", "said"), [(("v2", "/"), None), (("v2", "."), "/"), (("default", "."), "/")]
)
def test_chunks_under_other_keys_are_no_array_of_zeros(tmp_path, stored, said):
    name, separator = stored
    keys = {"name": name, "separator": separator}
    zarr_format = 2 if name == "v2" else 3
    path = _zarr(tmp_path / "a.zarr", zarr_format=zarr_format, chunk_key_encoding=keys)
    source = open_source(path, metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES)
    file = tmp_path / "a.zarr" / (".zarray" if zarr_format == 2 else "zarr.json")
    facts = json.loads(file.read_text())
    if zarr_format == 3:
        facts["chunk_key_encoding"]["configuration"]["separator"] = said
    else:
        facts.pop("dimension_separator", None)
        facts |= {} if said is None else {"dimension_separator": said}
    file.write_text(json.dumps(facts))
    with pytest.raises(
        SourceError, match=r"holds 0 of 8 chunks under the keys it states.*files such as"
    ):
        open_source(path, metadata=NM)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_lost_chunks_are_counted(tmp_path, zarr_format, caplog):
    path = _zarr(tmp_path / "a.zarr", zarr_format=zarr_format)
    key = "c/1/0/1" if zarr_format == 3 else "1.0.1"
    open_source(path, metadata=NM)
    assert not caplog.text
    (tmp_path / "a.zarr" / key).unlink()
    open_source(path, metadata=NM)
    assert "holds 7 of 8 chunks; the others read as 0" in caplog.text


@pytest.mark.parametrize("other", ["1.0.1", "c/1/0/01"])
def test_chunks_of_which_some_lie_under_other_keys_are_refused(tmp_path, other):
    path = _zarr(tmp_path / "a.zarr", zarr_format=3)
    (tmp_path / "a.zarr" / "c/1/0/1").rename(tmp_path / "a.zarr" / other)
    with pytest.raises(SourceError, match=f"holds 7 of 8 chunks.*such as {other}"):
        open_source(path, metadata=NM)


def test_shards_count_as_chunks(tmp_path, caplog):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(8, 8, 8), dtype="u1", chunks=(2, 2, 2), shards=(4, 8, 8)
    )
    array[...] = VALUES
    shutil.rmtree(tmp_path / "a.zarr" / "c" / "1")
    open_source(str(tmp_path / "a.zarr"), metadata=NM)
    assert "holds 1 of 2 chunks" in caplog.text


BLOB = np.linalg.norm(np.indices((32, 32, 32)) - 10.3, axis=0) < 8.2
COMPLETE = NM.model_copy(update={"truth_complete": True})


def _labels(path, values=BLOB, *, empty=False, **options):
    """Write labels, by default as zarr-python does: without chunks that hold only 0."""
    pipeline = {"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
    with zarr.config.set(pipeline):
        array = zarr.create_array(
            path, shape=values.shape, dtype="u1", config={"write_empty_chunks": empty}, **options
        )
        array[...] = values
    return str(path)


def test_a_truth_whose_empty_chunks_were_left_out_is_whole(tmp_path, caplog):
    path = _labels(tmp_path / "a.zarr", chunks=(8, 8, 8))
    source = open_source(path, metadata=NM, labels=True)
    np.testing.assert_array_equal(source.read(source.grid.box), BLOB)
    assert "holds 23 of 64 chunks" in caplog.text
    partial = NM.model_copy(update={"truth_complete": False})
    with pytest.raises(SourceError, match="truth_complete=no says that the others are not empty"):
        open_source(path, metadata=partial, labels=True)


@pytest.mark.parametrize("chunks", [(8, 8, 8), (1, 32, 32), (32, 8, 8)])
def test_labels_that_are_cut_off_at_a_missing_chunk_were_lost(tmp_path, chunks):
    path = _labels(tmp_path / "a.zarr", chunks=chunks)
    open_source(path, metadata=NM, labels=True)
    lost = tmp_path / "a.zarr" / "c" / "/".join(str(10 // k) for k in chunks)
    lost.unlink()
    with pytest.raises(SourceError, match=r"cut off at chunks that are missing.*truth_complete"):
        open_source(path, metadata=NM, labels=True)
    open_source(path, metadata=COMPLETE, labels=True)
    open_source(path, metadata=NM)


def test_chunks_that_a_writer_of_empty_chunks_did_not_leave_out_were_lost(tmp_path):
    path = _labels(tmp_path / "full.zarr", chunks=(8, 8, 8), empty=True)
    open_source(path, metadata=NM, labels=True)
    (tmp_path / "full.zarr" / "c" / "3" / "3" / "3").unlink()
    with pytest.raises(SourceError, match=r"holds 63 of 64 chunks\. Its writer stored even chunks"):
        open_source(path, metadata=NM, labels=True)
    open_source(path, metadata=COMPLETE, labels=True)


@pytest.mark.parametrize("labels", [False, True])
def test_a_chunk_that_the_next_level_shows_was_lost(tmp_path, labels, caplog):
    # an object within a chunk, whose neighbours hold nothing
    values = np.zeros((48, 48, 48), np.uint8)
    values[20:28, 20:28, 20:28] = 3
    group = zarr.create_group(tmp_path / "a.zarr")
    for name, level in (("0", values), ("1", values[::2, ::2, ::2])):
        array = group.create_array(name, shape=level.shape, chunks=(16, 16, 16), dtype="u1")
        array[...] = level
    scales = [{"type": "scale", "scale": [factor] * 3} for factor in (4, 8)]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"],
                "datasets": [
                    {"path": str(k), "coordinateTransformations": [scale]}
                    for k, scale in enumerate(scales)
                ],
            }
        ],
    }
    source = open_source(str(tmp_path / "a.zarr"), labels=labels)
    np.testing.assert_array_equal(source.read(source.grid.box), values)
    assert "holds 1 of 27 chunks" in caplog.text
    (tmp_path / "a.zarr" / "0" / "c" / "0" / "0" / "0").parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "a.zarr" / "0" / "c" / "1" / "1" / "1").rename(
        tmp_path / "a.zarr" / "0" / "c" / "0" / "0" / "0"
    )
    for path in (tmp_path / "a.zarr", tmp_path / "a.zarr" / "0"):
        with pytest.raises(SourceError, match=r"missing, c/1/1/1, has values in the next level"):
            open_source(str(path), labels=labels)


def test_chunks_of_other_channels_do_not_count(tmp_path, caplog):
    channels = np.stack([np.ones_like(BLOB), np.zeros_like(BLOB), BLOB])
    path = _labels(
        tmp_path / "a.zarr", channels, chunks=(1, 8, 8, 8), dimension_names=["c", "z", "y", "x"]
    )
    whole = NM.model_copy(update={"channel": 0})
    open_source(path, metadata=whole, labels=True)
    assert not caplog.text
    source = open_source(path, metadata=NM.model_copy(update={"channel": 2}), labels=True)
    np.testing.assert_array_equal(source.read(source.grid.box), BLOB)
    assert "holds 23 of 64 chunks" in caplog.text


def test_an_hdf5_truth_that_was_written_in_part_is_refused(tmp_path, caplog):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("half", VALUES.shape, "u1", chunks=(4, 4, 4))[:4] = VALUES[:4]
    path = f"{tmp_path}/a.h5:half"
    with pytest.raises(SourceError, match=r"has holes: 4 of 8 chunks are in the file"):
        open_source(path, metadata=NM, labels=True)
    open_source(path, metadata=COMPLETE, labels=True)
    assert "4 of 8 chunks are in the file" in caplog.text


def test_parts_of_a_virtual_dataset_that_no_file_holds_are_counted(tmp_path, caplog):
    path = _virtual(tmp_path)
    layout = h5py.VirtualLayout((16, 8, 8), "u1")
    layout[:8] = h5py.VirtualSource("all.h5", "raw", (8, 8, 8))
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    wide = f"{tmp_path}/wide.h5:raw"
    open_source(wide, metadata=NM)
    assert "512 of 1024 voxels are mapped to a file" in caplog.text
    with pytest.raises(SourceError, match="512 of 1024 voxels are mapped to a file"):
        open_source(wide, metadata=NM, labels=True)
    # of a virtual dataset of virtual datasets, the innermost files have to be there
    (tmp_path / "part1.h5").unlink()
    with pytest.raises(SourceError, match=r"missing or lack their dataset: part1\.h5"):
        open_source(wide, metadata=NM)
    with h5py.File(tmp_path / "part1.h5", "w") as file:
        file["raw"] = VALUES[:3]
    with pytest.raises(SourceError, match=r"needs more voxels of .*part1\.h5:raw than its shape"):
        open_source(path, metadata=NM)


def test_numbered_files_of_a_virtual_dataset_have_no_gap(tmp_path):
    for number in range(3):
        with h5py.File(tmp_path / f"b-{number}.h5", "w") as file:
            file["raw"] = VALUES[2 * number : 2 * number + 2]
    endless = (h5py.h5s.UNLIMITED, 8, 8)
    places = h5py.h5s.create_simple((6, 8, 8), endless)
    places.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (2, 8, 8), (2, 8, 8))
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_virtual(places, b"b-%b.h5", b"raw", h5py.h5s.create_simple((2, 8, 8)))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        shape = h5py.h5s.create_simple((6, 8, 8), endless)
        h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT8, shape, made)
    path = f"{tmp_path}/all.h5:raw"
    source = open_source(path, metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), VALUES[:6])
    (tmp_path / "b-1.h5").unlink()
    with pytest.raises(SourceError, match=r"missing or lack their dataset: b-1\.h5"):
        open_source(path, metadata=NM)


def test_a_result_of_the_workflow_without_a_single_object_is_a_truth(tmp_path):
    with create(tmp_path / "a.ome.zarr", Grid((4, 4, 4), (1, 1, 1)), dtype=np.uint8, attributes={}):
        pass
    source = open_source(str(tmp_path / "a.ome.zarr"), labels=True)
    assert not source.read(source.grid.box).any()


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("codec", ["lz4", "zstd", "blosclz", "zlib"])
def test_a_blosc_chunk_that_was_cut_short_is_no_chunk(tmp_path, codec, kept):
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 32), dtype=np.uint8)
    compressor = Blosc(codec, 5, 1)
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=values.shape, dtype="u1", chunks=values.shape, zarr_format=2,
        compressors=compressor,
    )  # fmt: skip
    array[...] = values
    source = open_source(str(tmp_path / "a.zarr"), metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), values)
    file = tmp_path / "a.zarr" / "0.0.0"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(SourceError, match=r"0\.0\.0 is damaged \(a Blosc frame of \d+ bytes has"):
        source.read(source.grid.box)
