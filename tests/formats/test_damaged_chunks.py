"""A damaged chunk of a Zarr array or an HDF5 dataset is an error that names its file."""

import contextlib
import json
import pickle
import zlib

import h5py
import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from parafovea.errors import SourceError
from parafovea.formats.blosc_frames import check_frame
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.formats.zarr.arrays import open_node
from parafovea.formats.zarr.chunk_codecs import CheckedPipeline

NM = SourceMetadata(spacing=(8.0, 4.0, 4.0), unit="nanometer")
#: Smooth and noisy, so that each codec compresses it, and not to nothing.
VALUES = (
    np.add.outer(np.add.outer(np.arange(16), 3 * np.arange(16)), 7 * np.arange(16))
    + np.random.default_rng(0).integers(0, 4, (16, 16, 16))
).astype(np.uint16)

V2 = {
    "none": None,
    "blosc lz4": numcodecs.Blosc("lz4"),
    "blosc zstd, bits": numcodecs.Blosc("zstd", shuffle=2),
    "blosc zlib, plain": numcodecs.Blosc("zlib", shuffle=0),
    "blosc blosclz, auto": numcodecs.Blosc("blosclz", shuffle=-1),
    "zstd": numcodecs.Zstd(),
    "lz4": numcodecs.LZ4(),
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
}
V3 = {
    "none": [],
    "blosc lz4": [BloscCodec(cname="lz4")],
    "blosc zstd": [BloscCodec(cname="zstd", shuffle="shuffle")],
    "zstd": [ZstdCodec()],
    "gzip": [GzipCodec()],
    "blosc with a checksum": [BloscCodec(), Crc32cCodec()],
    "gzip twice": [GzipCodec(), GzipCodec()],
}
LAYOUTS = {
    **{f"v2 {name}": {"zarr_format": 2, "compressors": codec} for name, codec in V2.items()},
    **{f"v3 {name}": {"compressors": codecs} for name, codecs in V3.items()},
    **{
        f"shard {name}": {"compressors": codecs, "shards": VALUES.shape, "chunks": (8, 16, 16)}
        for name, codecs in V3.items()
    },
}


def _write(path, **options):
    # zarrs does not know all codecs
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
        array = zarr.create_array(path, shape=VALUES.shape, dtype=VALUES.dtype, **options)
        array[...] = VALUES


def _array(path, layout):
    _write(path, **{"chunks": VALUES.shape, **LAYOUTS[layout]})
    return path / ("0.0.0" if layout.startswith("v2") else "c/0/0/0")


def _read(path):
    source = open_source(str(path), metadata=NM)
    return source.read(source.grid.box)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_chunk_of_another_length_is_refused_by_its_name(tmp_path, layout):
    chunk = _array(tmp_path / "a.zarr", layout)
    whole = chunk.read_bytes()
    np.testing.assert_array_equal(_read(tmp_path / "a.zarr"), VALUES)
    half, last = whole[: len(whole) // 2], whole[-20:]
    for damaged in (b"", whole[:5], half, whole[:-1], whole + b"\0", whole + last):
        # a shard may hold bytes that its index does not name, as long as the index is its end
        if layout.startswith("shard") and damaged == whole + last:
            continue
        chunk.write_bytes(damaged)
        with pytest.raises(SourceError, match=f"{chunk} is damaged"):
            _read(tmp_path / "a.zarr")


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "none" not in name])
def test_a_changed_header_of_a_chunk_never_gives_other_voxels(tmp_path, layout):
    chunk = _array(tmp_path / "a.zarr", layout)
    whole = chunk.read_bytes()
    # what follows the length in an LZ4 chunk is compressed voxels
    for at in range(4 if "v2 lz4" in layout else 16):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            chunk.write_bytes(damaged)
            # the time in a gzip header, for one, is of no account
            with contextlib.suppress(SourceError):
                np.testing.assert_array_equal(_read(tmp_path / "a.zarr"), VALUES)


@pytest.mark.parametrize("location", ["start", "end"])
def test_a_shard_cut_short_is_not_taken_for_chunks_that_were_never_written(tmp_path, location):
    sharding = zarr.codecs.ShardingCodec(chunk_shape=(4, 16, 16), index_location=location)
    array = zarr.create(
        store=tmp_path / "a.zarr", shape=VALUES.shape, chunks=VALUES.shape, dtype="u2",
        codecs=[sharding],
    )  # fmt: skip
    array[...] = VALUES
    chunk = tmp_path / "a.zarr/c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-2048])
    source = open_source(str(tmp_path / "a.zarr"), metadata=NM)
    # zarr writes the chunks of a shard in any order: which of them was cut off is not known
    with pytest.raises(SourceError, match=f"{chunk} is damaged"):
        source.array[0:16, 0:16, 0:16]
    for z in range(0, 16, 4):
        with contextlib.suppress(SourceError):
            np.testing.assert_array_equal(source.array[z : z + 4, 0:16, 0:16], VALUES[z : z + 4])


@pytest.mark.parametrize(
    ("layout", "bomb"),
    [
        ("v2 zlib", zlib.compress),
        ("v2 gzip", numcodecs.GZip().encode),
        ("v2 zstd", numcodecs.Zstd().encode),
        ("v2 lzma", numcodecs.LZMA().encode),
        ("v3 gzip", numcodecs.GZip().encode),
        ("v3 zstd", numcodecs.Zstd().encode),
        ("v2 blosc lz4", numcodecs.Blosc("lz4").encode),
    ],
)
def test_a_chunk_that_unpacks_to_more_is_refused(tmp_path, layout, bomb):
    chunk = _array(tmp_path / "a.zarr", layout)
    chunk.write_bytes(bomb(bytes(2**26)))
    with pytest.raises(SourceError, match=r"(more than|instead of) 8192 bytes"):
        _read(tmp_path / "a.zarr")


@pytest.mark.parametrize("filters", [[TransposeCodec(order=(2, 0, 1))], []])
@pytest.mark.parametrize("layout", ["v3 blosc zstd", "shard gzip"])
def test_arrays_are_checked_in_other_processes_too(tmp_path, layout, filters):
    options = {"chunks": VALUES.shape, **LAYOUTS[layout]}
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=VALUES.shape, dtype="u2", filters=filters, **options
    )
    array[...] = VALUES
    copied = pickle.loads(pickle.dumps(open_node(str(tmp_path / "a.zarr"))))  # noqa: S301
    assert isinstance(copied._async_array.codec_pipeline, CheckedPipeline)
    np.testing.assert_array_equal(copied[...], VALUES)


@pytest.mark.parametrize("compressor", V2)
@pytest.mark.parametrize(
    "filters",
    [
        [numcodecs.Delta(dtype="u2")],
        [numcodecs.Shuffle(2)],
        [numcodecs.Delta(dtype="u2"), numcodecs.Fletcher32()],
        [numcodecs.FixedScaleOffset(offset=0, scale=1, dtype="u2", astype="u4")],
        [numcodecs.AsType(encode_dtype="i4", decode_dtype="u2")],
    ],
    ids=["delta", "shuffle", "checksum", "scaled", "other type"],
)
def test_filters_of_format_version_2_are_undone(tmp_path, compressor, filters):
    _write(
        tmp_path / "a.zarr", chunks=(8, 8, 16), zarr_format=2, order="F", filters=filters,
        compressors=V2[compressor],
    )  # fmt: skip
    np.testing.assert_array_equal(_read(tmp_path / "a.zarr"), VALUES)


@pytest.mark.parametrize(
    ("name", "says"),
    [("base64", "stored by the codec 'base64', which is not supported"), ("pickle", "pickle")],
)
def test_other_codecs_are_refused_before_they_are_used(tmp_path, name, says):
    _array(tmp_path / "a.zarr", "v2 zlib")
    metadata = tmp_path / "a.zarr" / ".zarray"
    facts = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**facts, "filters": [{"id": name}]}))
    with pytest.raises(SourceError, match=says):
        open_source(str(tmp_path / "a.zarr"), metadata=NM)


def test_a_chunk_larger_than_the_limit_is_refused_when_it_is_opened(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(2000,) * 3, chunks=(2000,) * 3, dtype="u1")
    with pytest.raises(SourceError, match="unpacks to 8000000000 bytes, more than the limit"):
        open_source(str(tmp_path / "a.zarr"), metadata=NM)


def test_frames_of_other_programs_are_frames():
    # some programs state elements of one byte for all arrays, which are then not shuffled
    frame = numcodecs.Blosc("lz4", 5, 1).encode(VALUES.view(np.uint8))
    for shuffle in (0, 1):
        check_frame(frame, VALUES.nbytes, shuffle=shuffle, elements=[2])
    with pytest.raises(ValueError, match="has the shuffle 1, not 2"):
        check_frame(frame, VALUES.nbytes, shuffle=2, elements=[2])
    plain = numcodecs.Blosc("lz4", 0, 1).encode(VALUES)
    check_frame(plain, VALUES.nbytes, shuffle=0, elements=[4])


FILTERS = {
    "gzip": {"compression": "gzip"},
    "gzip, shuffled": {"compression": "gzip", "shuffle": True},
    "gzip with a checksum": {"compression": "gzip", "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "a checksum": {"fletcher32": True, "shuffle": True},
    "szip": {"compression": "szip"},
    "szip, shuffled": {"compression": "szip", "compression_opts": ("ec", 16), "shuffle": True},
}


#: Filters for integers alone, or for floats, in which HDF5 keeps fewer bits.
FEWER_BITS = {
    "scale-offset": ("u2", {"scaleoffset": 0}),
    "scale-offset of 12 bits": ("i4", {"scaleoffset": 12}),
    "scale-offset, compressed": (">i2", {"scaleoffset": 0, "compression": "gzip", "shuffle": True}),
    "scale-offset of 64 bits": ("i8", {"scaleoffset": 0}),
    "scale-offset of float32": ("f4", {"scaleoffset": 3}),
    "scale-offset of float64": (">f8", {"scaleoffset": 2, "compression": "lzf"}),
}


def _twelve_bits(offset, order):
    kind = h5py.h5t.STD_U16LE.copy() if order == "<" else h5py.h5t.STD_I16BE.copy()
    kind.set_precision(12)
    kind.set_offset(offset)
    return kind


def _hdf5(path, **options):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("raw", data=VALUES, chunks=VALUES.shape, **options)
        return data.id.read_direct_chunk((0, 0, 0))[1]


@pytest.mark.parametrize("name", FILTERS)
def test_a_chunk_of_hdf5_of_another_length_is_refused(tmp_path, name):
    whole = _hdf5(tmp_path / "a.h5", **FILTERS[name])
    np.testing.assert_array_equal(_read(f"{tmp_path}/a.h5:raw"), VALUES)
    damages = [whole[:5], whole[: len(whole) // 2], whole[:-2]]
    if "szip" not in name:
        # what follows an SZIP stream is not told from it, and not read
        damages.append(whole + b"more")
    if name == "gzip":
        short, long = VALUES.tobytes()[:-10], VALUES.tobytes() + bytes(2**26)
        damages += [zlib.compress(short), zlib.compress(long)]
    for damaged in damages:
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file["raw"].id.write_direct_chunk((0, 0, 0), damaged)
        with pytest.raises(SourceError, match=r"a\.h5:raw .*chunk at \(0, 0, 0\) is damaged"):
            _read(f"{tmp_path}/a.h5:raw")


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", ">f4", "f8", "bool"])
@pytest.mark.parametrize("name", FILTERS)
def test_chunks_of_hdf5_are_those_that_h5py_reads(tmp_path, dtype, name):
    values = np.random.default_rng(1).integers(0, 2, (9, 10, 11)).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=values, chunks=(4, 4, 4), **FILTERS[name])
        partly = file.create_dataset(
            "partly", values.shape, dtype, chunks=(4, 4, 4), fillvalue=1, **FILTERS[name]
        )
        partly[5:, :6] = values[5:, :6]
    for dataset in ("raw", "partly"):
        with h5py.File(tmp_path / "a.h5") as file:
            expected = file[dataset][...]
        source = open_source(f"{tmp_path}/a.h5:{dataset}", metadata=NM)
        np.testing.assert_array_equal(source.read(source.grid.box), expected)
        np.testing.assert_array_equal(source.array[2:7, 1:9, 3:4], expected[2:7, 1:9, 3:4])


@pytest.mark.parametrize("name", FEWER_BITS)
def test_chunks_of_fewer_bits_are_those_that_h5py_reads(tmp_path, name):
    dtype, options = FEWER_BITS[name]
    values = np.random.default_rng(1).normal(100, 30, (9, 10, 11)).astype(dtype)
    constant = np.full((9, 10, 11), 7, dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=values, chunks=(4, 4, 4), **options)
        file.create_dataset("constant", data=constant, chunks=(4, 4, 4), **options)
        partly = file.create_dataset(
            "partly", values.shape, dtype, chunks=(4, 4, 4), fillvalue=90, **options
        )
        partly[5:, :6] = values[5:, :6]
    for dataset in ("raw", "constant", "partly"):
        with h5py.File(tmp_path / "a.h5") as file:
            expected = file[dataset][...]
        source = open_source(f"{tmp_path}/a.h5:{dataset}", metadata=NM)
        np.testing.assert_allclose(source.read(source.grid.box), expected, rtol=1e-6)
        assert np.dtype(dtype).kind == "f" or (source.read(source.grid.box) == expected).all()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        whole = file["raw"].id.read_direct_chunk((0, 0, 0))[1]
    for damaged in (whole[:3], whole[:25], whole[: len(whole) // 2], whole[:-2], whole + b"more"):
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file["raw"].id.write_direct_chunk((0, 0, 0), damaged)
        with pytest.raises(SourceError, match=r"a\.h5:raw .*chunk at \(0, 0, 0\) is damaged"):
            _read(f"{tmp_path}/a.h5:raw")


@pytest.mark.parametrize("filters", [(), ("gzip",), ("nbit",), ("nbit", "gzip"), ("nbit", "sum")])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("offset", [0, 3])
def test_integers_of_12_bits_are_those_that_h5py_reads(tmp_path, filters, order, offset):
    values = np.random.default_rng(1).integers(0, 2048, (8, 8, 8)).astype("i4")
    if order == ">":
        values[::2] *= -1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 8, 8))
        for name in filters:
            number = {"gzip": 1, "nbit": 5, "sum": 3}[name]
            plist.set_filter(number, h5py.h5z.FLAG_MANDATORY, (4,) if name == "gzip" else ())
        space = h5py.h5s.create_simple(values.shape)
        kind = _twelve_bits(offset, order)
        data = h5py.Dataset(h5py.h5d.create(file.id, b"raw", kind, space, plist))
        data[...] = values
        np.testing.assert_array_equal(data[...], values)
        whole = data.id.read_direct_chunk((0, 0, 0))[1]
        assert len(whole) < 400 or "nbit" not in filters
    np.testing.assert_array_equal(_read(f"{tmp_path}/a.h5:raw"), values)
    if filters:
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file["raw"].id.write_direct_chunk((0, 0, 0), whole[:-9])
        with pytest.raises(SourceError, match=r"a\.h5:raw .*is damaged"):
            _read(f"{tmp_path}/a.h5:raw")


@pytest.mark.parametrize(("number", "name"), [(32004, "LZ4"), (32008, "bitshuffle"), (65000, "")])
def test_a_filter_that_is_not_undone_here_is_refused_by_name(tmp_path, number, name):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(VALUES.shape)
        plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(VALUES.shape)
        data = h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT16, space, plist)
        data.write_direct_chunk((0, 0, 0), VALUES.tobytes())
    with pytest.raises(SourceError, match=rf"by the HDF5 filter {number} \({name}\)"):
        open_source(f"{tmp_path}/a.h5:raw", metadata=NM)


@pytest.mark.parametrize(
    ("number", "values", "codec"),
    [
        (307, (9,), numcodecs.BZ2()),
        (32001, (2, 2, 2, VALUES.nbytes, 5, 1, 1), numcodecs.Blosc("lz4", 5, 1)),
        (32015, (3,), numcodecs.Zstd()),
    ],
    ids=["bzip2", "blosc", "zstd"],
)
def test_registered_filters_of_hdf5_need_no_plugin(tmp_path, number, values, codec):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(VALUES.shape)
        plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, values)
        space = h5py.h5s.create_simple(VALUES.shape)
        data = h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT16, space, plist)
        data.write_direct_chunk((0, 0, 0), bytes(codec.encode(VALUES)))
    np.testing.assert_array_equal(_read(f"{tmp_path}/a.h5:raw"), VALUES)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["raw"].id.write_direct_chunk((0, 0, 0), bytes(codec.encode(VALUES))[:-9])
    with pytest.raises(SourceError, match="is damaged"):
        _read(f"{tmp_path}/a.h5:raw")


def _layouts(folder):
    """Return virtual datasets of planes, of overlapping blocks, and of every other plane."""
    with h5py.File(folder / "planes.h5", "w") as file:
        for z in range(16):
            file.create_dataset(f"z{z}", data=VALUES[z], chunks=(16, 8), compression="gzip")
        file.create_dataset("volume", data=VALUES, chunks=(8, 8, 8), compression="lzf")
    planes = h5py.VirtualLayout(VALUES.shape, "u2")
    for z in range(15):
        planes[z] = h5py.VirtualSource("planes.h5", f"z{z}", (16, 16))
    source = h5py.VirtualSource("planes.h5", "volume", VALUES.shape)
    blocks = h5py.VirtualLayout((16, 20, 20), "u2")
    blocks[:, 2:18, 1:17] = source
    blocks[4:9, 0:7, 10:20] = source[3:8, 5:12, 6:16]
    steps = h5py.VirtualLayout((8, 16, 16), "u2")
    steps[:] = source[::2]
    with h5py.File(folder / "all.h5", "w") as file:
        file.create_virtual_dataset("planes", planes, fillvalue=7)
        file.create_virtual_dataset("blocks", blocks, fillvalue=9)
        file.create_virtual_dataset("steps", steps)
        again = h5py.VirtualLayout((16, 16), "u2")
        again[:] = h5py.VirtualSource(".", "planes", VALUES.shape)[3]
        file.create_virtual_dataset("again", again)
        wide = h5py.VirtualLayout(VALUES.shape, "u4")
        wide[:] = source
        file.create_virtual_dataset("wide", wide)


@pytest.mark.parametrize("name", ["planes", "blocks", "steps", "again", "wide"])
def test_virtual_datasets_are_those_that_h5py_reads(tmp_path, name):
    _layouts(tmp_path)
    with h5py.File(tmp_path / "all.h5") as file:
        expected = file[name][...]
    expected = expected if expected.ndim == 3 else expected[None]
    source = open_source(f"{tmp_path}/all.h5:{name}", metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), expected)
    part = (slice(0, 6), slice(3, 15), slice(7, 16))
    np.testing.assert_array_equal(source.array[part], expected[part])


@pytest.mark.parametrize("name", ["planes", "again"])
def test_a_damaged_chunk_behind_a_virtual_dataset_is_refused(tmp_path, name):
    _layouts(tmp_path)
    with h5py.File(tmp_path / "planes.h5", "r+") as file:
        short = zlib.compress(VALUES[3].tobytes()[:100])
        file["z3"].id.write_direct_chunk((0, 0), short)
    with pytest.raises(SourceError, match=r"chunk at \(0, 0\) is damaged"):
        _read(f"{tmp_path}/all.h5:{name}")
