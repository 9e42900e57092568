"""DICOM files whose data set is deflated, inflated within a limit."""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from parafovea.formats.unpacking import LARGEST_HEADER

_BLOCK = 2**16
_SYNTAX = 0x0010
#: Types of values whose length has four bytes.
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")


def inflated(file: BinaryIO, limit: int, *, whole: bool) -> BinaryIO | None:
    """Return a file with its data set inflated, or None if it is not deflated.

    Parameters
    ----------
    file : file
        A file with the prefix DICM; afterwards it is at its beginning if it is not deflated.
    limit : int
        Maximum size of the data set in bytes.
    whole : bool
        Whether a larger data set is an error; otherwise its beginning is returned.

    Raises
    ------
    EOFError
        If the whole data set is wanted and the file is cut short.
    ValueError
        If it is larger than the limit.
    """
    file.seek(0)
    meta = _plain_meta(file)
    if meta is None:
        file.seek(0)
        return None
    stream, content = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    while not stream.eof and len(content) <= limit and (block := file.read(_BLOCK)):
        content += stream.decompress(block, limit + 1 - len(content))
        while stream.unconsumed_tail and len(content) <= limit:
            content += stream.decompress(stream.unconsumed_tail, limit + 1 - len(content))
    if whole and len(content) > limit:
        raise ValueError(f"its deflated data set unpacks to more than {limit} bytes")
    if whole and not stream.eof:
        raise EOFError(f"its deflated data set ends after {len(content)} bytes")
    return io.BytesIO(meta + content)


def _plain_meta(file: BinaryIO) -> bytes | None:
    """Return the file meta information of a deflated file for an inflated one, or None."""
    meta = bytearray(file.read(132))
    deflated = False
    while len(head := file.read(8)) == 8 and len(meta) < LARGEST_HEADER:
        group, element, kind, length = struct.unpack("<HH2sH", head)
        if group != 2:
            file.seek(-8, io.SEEK_CUR)
            break
        if kind in _LONG:
            head += file.read(4)
            length = int.from_bytes(head[8:], "little")
        value = file.read(min(length, LARGEST_HEADER))
        if (
            element == _SYNTAX
            and value.rstrip(b"\0 ") == str(DeflatedExplicitVRLittleEndian).encode()
        ):
            deflated, value = True, f"{ExplicitVRLittleEndian}\0".encode()
            head = struct.pack("<HH2sH", group, element, kind, len(value))
        if element:  # without the length of the group, which is another one now
            meta += head + value
    return bytes(meta) if deflated else None
