"""Blosc codec that rejects truncated chunks, where numcodecs reads past the end of the buffer.

Without this check, the memory behind a truncated chunk is decoded as voxels, or the process
crashes. A Blosc frame states its length, so that truncation is detected before decoding.
Importing this module is sufficient.
"""

from __future__ import annotations

from typing import Any

import numcodecs.blosc
from numcodecs.compat import ensure_contiguous_ndarray
from numcodecs.registry import register_codec

#: Bytes before the data; the last four are the length of the frame.
_HEADER = 16


class CheckedBlosc(numcodecs.blosc.Blosc):
    """The Blosc codec of numcodecs, raising `ValueError` for truncated chunks."""

    codec_id = "blosc"

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Return the decoded bytes of one chunk."""
        frame = memoryview(ensure_contiguous_ndarray(buf)).cast("B")
        stated = int.from_bytes(frame[_HEADER - 4 : _HEADER], "little")
        if len(frame) < _HEADER or len(frame) < stated:
            raise ValueError(f"a Blosc chunk of {stated} bytes has {len(frame)}")
        return super().decode(buf, out)


register_codec(CheckedBlosc)
