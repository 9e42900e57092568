"""Unpacking of compressed bytes: no more than a header promises, and all of it.

All readers take their limits from here, so that a small file cannot fill the memory, and a
damaged one is an error instead of numbers. Only the standard library is imported at first, since
the workflow reads headers while planning jobs.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from parafovea.errors import SourceError

#: Maximum size in bytes of what is unpacked as a whole: a chunk, a strip or tile, an image file.
LARGEST_PIECE = 2**30

#: Maximum size in bytes of a slice of a scan, unpacked.
LARGEST_SLICE = 2**29

#: Maximum size in bytes of a file with all slices of a scan, unpacked.
LARGEST_SCAN = 2**33

#: Maximum size in bytes of an array of a tile: 8192 x 8192 in eight bands of float32.
LARGEST_TILE = 2**31

#: Maximum size in bytes of a text header, unpacked; longer text is not a header.
LARGEST_HEADER = 2**20

#: Maximum size in bytes of what lies between a header and the voxels, and of JSON metadata.
LARGEST_EXTENSION = 2**26

#: zlib detects whether a stream is gzip or zlib.
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


#: Most bytes that one byte of a gzip or zlib stream unpacks to.
DEFLATED = 1032


class _Stream(Protocol):
    """A file or a decompressed stream."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""


def read_at_most(stream: _Stream, limit: int, what: str) -> bytes:
    """Return all that is left of a stream, if it is at most `limit` bytes.

    Parameters
    ----------
    stream : file
        Any stream; no more than one byte beyond the limit is read.
    limit : int
        Number of bytes.
    what : str
        What is read, for the error message.

    Raises
    ------
    ValueError
        If the stream is longer.
    """
    found = bytearray()
    while len(found) <= limit and (block := stream.read(min(2**20, limit + 1 - len(found)))):
        found += block
    if len(found) > limit:
        raise ValueError(f"{what} holds more than the limit of {limit} bytes")
    return bytes(found)


def check_size(path: str, size: int, what: str, limit: int = LARGEST_PIECE) -> None:
    """Raise `SourceError` if something would unpack to more than a limit.

    Parameters
    ----------
    path : str
        The source, for the error message.
    size : int
        Number of bytes that a header states.
    what : str
        What would be unpacked as a whole.
    limit : int
        Number of bytes.
    """
    if size > limit:
        raise SourceError(
            f"{path}: {what} unpacks to {size} bytes, more than the limit of {limit}: write it in "
            "smaller chunks, tiles or files"
        )


def check_deflated(path: str, packed: int, size: int) -> None:
    """Raise `SourceError` if a gzip or zlib stream is too short for its content.

    Parameters
    ----------
    path : str
        The source, for the error message.
    packed : int
        Bytes of the stream.
    size : int
        Bytes of the content that a header states.
    """
    if size > DEFLATED * packed:
        raise SourceError(
            f"{path} is truncated: {packed} compressed bytes cannot hold the {size} bytes that its "
            "header states: copy or write it again"
        )


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...


def unpacked(
    codec: str, data: bytes | memoryview, size: int, *, exact: bool = True, **options: Any
) -> bytes:
    """Return the content of a compressed chunk.

    Parameters
    ----------
    codec : {"gzip", "zlib", "bz2", "lzma", "zstd"}
        Compression.
    data : bytes-like
        All bytes of the chunk.
    size : int
        Number of bytes of the content.
    exact : bool
        Whether the content has just this size; otherwise at most.
    **options
        For "lzma": `format` and `filters`.

    Raises
    ------
    ValueError
        If the content is of another size, or the stream is cut short, damaged or followed by
        other bytes.
    """
    raw = memoryview(data).cast("B")
    try:
        found = _zstd(raw, size) if codec == "zstd" else _inflated(codec, raw, size, options)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ValueError(f"its {codec} stream is damaged: {error}") from error
    if exact and len(found) != size:
        raise ValueError(f"it unpacks to {len(found)} instead of {size} bytes")
    return found


def _inflated(codec: str, raw: memoryview, size: int, options: dict[str, Any]) -> bytes:
    make: Callable[[], Any] = {
        "gzip": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
        "zlib": zlib.decompressobj,
        "bz2": bz2.BZ2Decompressor,
        "lzma": lambda: _lzma(**options),
    }[codec]
    parts: list[bytes] = []
    left = size
    while True:
        stream: _Decompressor = make()
        # one byte more, to tell whether there is more; the trailer is then read as well
        part = stream.decompress(raw, left + 1)
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise ValueError(f"it unpacks to more than {size} bytes")
        if not stream.eof:
            raise EOFError(f"it ends after {size - left} of {size} bytes")
        if not stream.unused_data:
            return part if len(parts) == 1 else b"".join(parts)
        # a zlib stream is one; the others may have several members
        if codec == "zlib":
            raise ValueError(f"{len(stream.unused_data)} bytes follow its end")
        raw = memoryview(stream.unused_data)


def _lzma(**options: Any) -> lzma.LZMADecompressor:
    stated = {key: value for key, value in options.items() if value is not None}
    if stated.get("format") != lzma.FORMAT_RAW:
        # the size of the dictionary is stated in the stream
        stated["memlimit"] = LARGEST_PIECE
    return lzma.LZMADecompressor(**stated)


def _zstd(raw: memoryview, size: int) -> bytes:
    import imagecodecs

    try:
        return bytes(imagecodecs.zstd_decode(bytes(raw), out=size)) if len(raw) else b""
    except imagecodecs.ZstdError as error:
        raise ValueError(
            f"its zstd stream is damaged, or unpacks to more than {size} bytes: {error}"
        ) from error
