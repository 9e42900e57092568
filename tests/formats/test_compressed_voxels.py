"""Compressed bytes are the same wherever reading begins, and little of them is held."""

import gzip
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.formats import compressed_voxels as packed
from parafovea.formats.compressed_voxels import Inflated

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


@settings(deadline=None, max_examples=60)
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
