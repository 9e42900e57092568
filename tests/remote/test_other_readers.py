"""N5 and precomputed volumes that TensorStore writes, and what it reads of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorstore

from parafovea.formats.opening import open_source

VOXELS = np.random.default_rng(0).integers(0, 4, (23, 37, 50))

N5_COMPRESSIONS = [
    {"type": "raw"},
    {"type": "gzip", "level": 3},
    {"type": "gzip", "useZlib": True},
    {"type": "bzip2"},
    {"type": "xz"},
    {"type": "zstd"},
    {"type": "blosc", "cname": "lz4", "clevel": 3, "shuffle": 1},
    {"type": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2},
]


@pytest.mark.parametrize("compression", N5_COMPRESSIONS, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64", "float64"])
def test_n5(tmp_path, compression, dtype):
    facts = {
        "compression": compression,
        "dataType": dtype,
        "blockSize": [16, 8, 8],
        "dimensions": VOXELS.shape[::-1],
    }
    store = {"driver": "file", "path": str(tmp_path / "a.n5")}
    spec = {"driver": "n5", "kvstore": store, "metadata": facts, "create": True}
    values = VOXELS.astype(dtype)
    tensorstore.open(spec).result().write(values.T).result()
    source = open_source(str(tmp_path / "a.n5"), metadata="spacing=4,2,2 unit=nm")
    assert source.array.dtype == dtype
    np.testing.assert_array_equal(source.read(source.grid.box), values)


def _precomputed(path, values, kind="image", **scale):
    facts = {
        "size": VOXELS.shape[::-1],
        "resolution": [2, 2, 4],
        "voxel_offset": [10, -7, 3],
        "chunk_size": [16, 8, 8],
        **scale,
    }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": str(path)},
        "multiscale_metadata": {
            "data_type": values.dtype.name,
            "num_channels": 1,
            "type": kind,
        },
        "scale_metadata": facts,
        "create": True,
    }
    store = tensorstore.open(spec).result()
    store.write(values.T[..., None]).result()
    return store.read().result()[..., 0].T


ENCODINGS = [
    ("uint8", {"encoding": "raw"}),
    ("uint64", {"encoding": "raw"}),
    ("float32", {"encoding": "raw"}),
    ("uint8", {"encoding": "png"}),
    ("uint16", {"encoding": "png"}),
    *[
        (
            dtype,
            {
                "encoding": "compressed_segmentation",
                "compressed_segmentation_block_size": block,
            },
        )
        for dtype in ("uint32", "uint64")
        for block in ([8, 8, 8], [4, 5, 3])
    ],
]


@pytest.mark.parametrize(("dtype", "scale"), ENCODINGS, ids=str)
def test_precomputed(tmp_path, dtype, scale):
    values = VOXELS.astype(dtype)
    if dtype == "uint64":
        values *= 2**40 + 7
    kind = "segmentation" if "segm" in scale["encoding"] else "image"
    _precomputed(tmp_path, values, kind, **scale)
    source = open_source(str(tmp_path))
    np.testing.assert_array_equal(source.read(source.grid.box), values)


def test_precomputed_jpeg_to_one_grey_value(tmp_path):
    values = (VOXELS * 60).astype(np.uint8)
    expected = _precomputed(tmp_path, values, encoding="jpeg", jpeg_quality=90).astype(int)
    source = open_source(str(tmp_path))
    assert np.abs(source.read(source.grid.box) - expected).max() <= 1


@pytest.mark.parametrize("bits", [(0, 0, 0), (1, 2, 1), (2, 1, 5)], ids=str)
@pytest.mark.parametrize("name", ["identity", "murmurhash3_x86_128"])
@pytest.mark.parametrize("packed", [("raw", "gzip"), ("gzip", "raw")], ids=str)
@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
def test_precomputed_shards(tmp_path, bits, name, packed, encoding):
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": bits[0],
        "minishard_bits": bits[1],
        "shard_bits": bits[2],
        "hash": name,
        "minishard_index_encoding": packed[0],
        "data_encoding": packed[1],
    }
    scale = {"encoding": encoding, "sharding": sharding}
    if encoding != "raw":
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    values = VOXELS.astype(np.uint64)
    # chunks of nothing but zeros are left out
    values[:8, :8, :16] = 0
    _precomputed(tmp_path, values, "segmentation", **scale)
    source = open_source(str(tmp_path))
    np.testing.assert_array_equal(source.read(source.grid.box), values)
