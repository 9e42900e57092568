"""Blosc whose chunks are whole: numcodecs reads on behind the end of one that was cut short.

What lies behind it in memory then counts as voxels, or the process dies. The frame of Blosc states
its length, so that a short one is told before it is decoded. Importing this module is enough.
"""

from __future__ import annotations

from typing import Any

import numcodecs.blosc
from numcodecs.compat import ensure_contiguous_ndarray
from numcodecs.registry import register_codec

#: Bytes before the data; the last four are the length of the frame.
_HEADER = 16


class CheckedBlosc(numcodecs.blosc.Blosc):
    """The Blosc of numcodecs, which raises `ValueError` for a chunk that was cut short."""

    codec_id = "blosc"

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Return the decoded bytes of one chunk."""
        frame = memoryview(ensure_contiguous_ndarray(buf)).cast("B")
        stated = int.from_bytes(frame[_HEADER - 4 : _HEADER], "little")
        if len(frame) < _HEADER or len(frame) < stated:
            raise ValueError(f"a Blosc chunk of {stated} bytes has {len(frame)}")
        return super().decode(buf, out)


register_codec(CheckedBlosc)
