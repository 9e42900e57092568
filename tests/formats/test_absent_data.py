"""Data that is not there: files of virtual datasets, chunks under other keys, lost chunks."""

import json
import shutil

import h5py
import numpy as np
import pytest
import zarr
from numcodecs import Blosc

from parafovea.errors import SourceError
from parafovea.formats.metadata import SourceMetadata
from parafovea.formats.opening import open_source
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


def test_shards_count_as_chunks(tmp_path, caplog):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(8, 8, 8), dtype="u1", chunks=(2, 2, 2), shards=(4, 8, 8)
    )
    array[...] = VALUES
    shutil.rmtree(tmp_path / "a.zarr" / "c" / "1")
    open_source(str(tmp_path / "a.zarr"), metadata=NM)
    assert "holds 1 of 2 chunks" in caplog.text


def test_a_truth_that_has_lost_chunks_is_refused_where_that_can_be_told(tmp_path, caplog):
    labels = (VALUES > 120).astype(np.uint8)
    labels[:4, :4] = 0
    # a writer that leaves out what is empty: nothing is lost
    path = _zarr(tmp_path / "sparse.zarr", labels)
    source = open_source(path, metadata=NM, labels=True)
    np.testing.assert_array_equal(source.read(source.grid.box), labels)
    assert "holds 6 of 8 chunks" in caplog.text
    # one that stores it: what is missing was there
    pipeline = {"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
    with zarr.config.set(pipeline):
        path = _zarr(tmp_path / "full.zarr", labels, config={"write_empty_chunks": True})
    open_source(path, metadata=NM, labels=True)
    (tmp_path / "full.zarr" / "c" / "1" / "1" / "1").unlink()
    with pytest.raises(SourceError, match=r"holds 7 of 8 chunks\. Its writer stored even chunks"):
        open_source(path, metadata=NM, labels=True)


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
