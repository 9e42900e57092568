"""What is unpacked has the size that was promised, and no more than that is unpacked."""

import bz2
import gzip
import io
import lzma
import tracemalloc
import zlib

import imagecodecs
import pytest

from parafovea.errors import SourceError
from parafovea.formats.unpacking import check_size, read_at_most, unpacked

CONTENT = bytes(range(256)) * 300
PACK = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "lzma": lzma.compress,
    "zstd": imagecodecs.zstd_encode,
}


@pytest.mark.parametrize("codec", PACK)
def test_content_of_the_promised_size_comes_back(codec):
    assert unpacked(codec, PACK[codec](CONTENT), len(CONTENT)) == CONTENT
    assert unpacked(codec, PACK[codec](CONTENT), 2**20, exact=False) == CONTENT


@pytest.mark.parametrize("codec", ["gzip", "bz2", "lzma", "zstd"])
def test_a_stream_may_have_several_members(codec):
    members = PACK[codec](CONTENT[:1000]) + PACK[codec](CONTENT[1000:])
    assert unpacked(codec, members, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("codec", PACK)
@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:5],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw + b"rest of an older chunk",
        lambda raw: raw + raw,
    ],
    ids=["empty", "five bytes", "half", "without the last byte", "padded", "followed", "twice"],
)
def test_streams_cut_short_or_followed_by_other_bytes_are_errors(codec, damage):
    with pytest.raises(ValueError):
        unpacked(codec, damage(PACK[codec](CONTENT)), len(CONTENT))


@pytest.mark.parametrize("codec", PACK)
@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1, 0])
def test_content_of_another_size_is_an_error(codec, size):
    with pytest.raises(ValueError, match=f"{size} bytes"):
        unpacked(codec, PACK[codec](CONTENT), size)


@pytest.mark.parametrize("codec", PACK)
def test_no_more_than_the_promised_size_is_unpacked(codec):
    bomb = PACK[codec](bytes(2**27))
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        unpacked(codec, bomb, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # of which the dictionary of an LZMA stream is half
    assert peak < 2**24


def test_a_stream_is_read_up_to_a_limit():
    assert read_at_most(io.BytesIO(CONTENT), len(CONTENT), "it") == CONTENT
    stream = io.BytesIO(CONTENT)
    with pytest.raises(ValueError, match="it holds more than the limit of 1000 bytes"):
        read_at_most(stream, 1000, "it")
    assert stream.tell() == 1001


def test_pieces_above_the_limit_are_refused_with_both_numbers():
    check_size("a.tif", 2**30, "a tile")
    with pytest.raises(SourceError, match=r"a\.tif: a tile unpacks to 1073741825 .* 1073741824"):
        check_size("a.tif", 2**30 + 1, "a tile")
