"""Compressed bytes are the same wherever reading begins, and little of them is held."""

import gzip
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.formats import compressed_voxels as packed
from parafovea.formats.compressed_voxels import CompressedVoxels, Inflated

DATA = np.random.default_rng(1).integers(0, 5, 400_000, np.uint8).tobytes()
HEAD = b"a header"
STREAMS = {
    "gzip": gzip.compress(DATA),
    "zlib": zlib.compress(DATA),
    "members": gzip.compress(DATA[:150_000]) + gzip.compress(DATA[150_000:]),
}


@pytest.fixture(scope="module", params=list(STREAMS))
def stream(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "a.bin"
    path.write_bytes(HEAD + STREAMS[request.param])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "STRIDE", 50_000)
        patch.setattr(packed, "_OUTPUT", 20_000)
        patch.setattr(packed, "_INPUT", 3_000)
        yield Inflated(str(path), len(HEAD))


@settings(max_examples=60)
@given(start=st.integers(0, len(DATA)), size=st.integers(0, 100_000))
def test_any_part_is_the_same_part_of_the_whole(stream, start, size):
    size = min(size, len(DATA) - start)
    assert stream.read(start, size) == DATA[start : start + size]


def test_reading_beyond_the_end_is_an_error(stream):
    with pytest.raises(EOFError, match="end after"):
        stream.read(len(DATA) - 10, 11)


def test_reading_goes_on_from_a_place_close_before(stream):
    stream.read(0, len(DATA))
    places = [point.unpacked for point in stream._points]
    assert places[0] == 0
    assert max(np.diff([*places, len(DATA)])) <= 50_000 + 20_000


def test_memory_is_bounded_by_what_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "STRIDE", 16 * 2**20)
    size = 96 * 2**20
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(size), 1))
    tracemalloc.start()
    Inflated(str(tmp_path / "a.gz"), 0).read(size - 1000, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


INDICES = [
    (slice(2, 9), slice(3, 4), slice(1, 13)),
    (slice(0, 11), 2, slice(5, 13)),
    (4, slice(0, 7), slice(0, 13)),
    (slice(1, 3), slice(2, 7), 12),
    (3, 6, slice(2, 4)),
]


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("held", [1, 400, 2**20])
def test_a_part_is_the_same_however_many_planes_are_held(tmp_path, monkeypatch, index, held):
    monkeypatch.setattr(packed, "HELD", held)
    values = np.random.default_rng(2).integers(0, 2**15, (11, 7, 13)).astype("<i2")
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"header" + values.tobytes(order="F")))
    stored = CompressedVoxels(str(path), 0, shape=values.shape, dtype=values.dtype, skipped=6)
    np.testing.assert_array_equal(stored[index], values[index])


def test_a_column_of_planes_takes_the_memory_of_a_few_planes(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "STRIDE", 16 * 2**20)
    monkeypatch.setattr(packed, "HELD", 4 * 2**20)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(64 * 2**20), 1))
    stored = CompressedVoxels(str(path), 0, shape=(1024, 1024, 64), dtype=np.dtype(np.uint8))
    tracemalloc.start()
    part = stored[0:256, 0:256, 0:64]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.shape == (256, 256, 64)
    assert peak < 20 * 2**20
