"""Headers of Blosc frames, checked before decoding.

The decoders trust the header: with a wrong one they return bytes in another order, or those that
happen to be in memory. A frame of the Blosc 1 format starts with its version, the version of its
compressor, flags, the bytes of an element, and three lengths: the content, a block, the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_HEADER = struct.Struct("<BBBBIII")

#: Flags: bytes are shuffled, nothing is compressed, bits are shuffled.
_BYTES, _PLAIN, _BITS = 1, 2, 4


def check_frame(
    frame: bytes | memoryview, size: int, *, shuffle: int | None, elements: Sequence[int]
) -> None:
    """Raise `ValueError` if a frame is not what the metadata of its array state.

    Parameters
    ----------
    frame : bytes-like
        All bytes of the chunk.
    size : int
        Bytes of its content.
    shuffle : int or None
        0 for none, 1 for bytes, 2 for bits, -1 for the choice by the bytes of an element; None if
        it is not known.
    elements : sequence of int
        Possible numbers of bytes of an element. Some programs always state 1.
    """
    if len(frame) < _HEADER.size:
        raise ValueError(f"it has {len(frame)} bytes, fewer than the header of a Blosc frame")
    _, _, flags, element, content, block, stated = _HEADER.unpack_from(frame)
    if stated != len(frame):
        raise ValueError(f"a Blosc frame of {stated} bytes has {len(frame)}")
    if content != size:
        raise ValueError(f"its Blosc frame holds {content} instead of {size} bytes")
    if flags & _PLAIN:
        if stated != content + _HEADER.size:
            raise ValueError(f"{content} plain bytes are in a Blosc frame of {stated}")
        return
    if element not in (1, *elements):
        raise ValueError(f"its Blosc frame has elements of {element} bytes, not of {elements[0]}")
    if shuffle is not None:
        meant = shuffle if shuffle >= 0 else (2 if element == 1 else 1)
        found = flags & (_BYTES | _BITS)
        stated = {0: 0, _BYTES: 1, _BITS: 2}.get(found, found)
        # to shuffle single bytes changes nothing
        if stated != meant and not (element == 1 and {stated, meant} == {0, 1}):
            raise ValueError(f"its Blosc frame has the shuffle {stated}, not {meant}")
    _check_blocks(frame, content, block)


def _check_blocks(frame: bytes | memoryview, content: int, block: int) -> None:
    """Raise `ValueError` if the table of blocks does not lie between the header and the blocks."""
    if not 0 < block <= max(1, content):
        raise ValueError(f"its Blosc frame has blocks of {block} bytes for {content}")
    count = -(-content // block)
    table = _HEADER.size + 4 * count
    if table > len(frame):
        raise ValueError(f"its Blosc frame has no room for {count} blocks")
    starts = struct.unpack_from(f"<{count}I", frame, _HEADER.size)
    if count and (min(starts) != table or max(starts) >= len(frame)):
        raise ValueError("the blocks of its Blosc frame are not where its header puts them")
