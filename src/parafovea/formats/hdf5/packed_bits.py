"""The two filters of HDF5 that keep fewer bits of a number: N-bit and scale-offset.

HDF5 reads as many bits as the size of a chunk needs, beyond the end of one that is cut short.
The layout is that of its `H5Znbit.c` and `H5Zscaleoffset.c`: the highest bit of a number first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parafovea.formats.source import Array

#: Bytes before the numbers of the scale-offset filter, in which the bits and the minimum are.
_HEADER = 21

#: The filter's parameters: of N-bit the class, size, order, precision and offset of a number; of
#: scale-offset the kind and exponent of the scale, and the number's class, size, sign and order.
_ATOMIC, _FLOAT, _BIG = 1, 1, 1


def packed_size(nbit: bool, values: Sequence[int], size: int) -> tuple[int, bool]:
    """Return the bytes that a filter makes of `size` bytes, and whether they are just as many.

    Parameters
    ----------
    nbit : bool
        N-bit, not scale-offset.
    values : sequence of int
        Parameters of the filter.
    size : int
        Bytes of the elements.
    """
    if not nbit:
        return _HEADER + size + 1, False
    if len(values) < 8 or values[1]:
        return size, True
    return values[2] * values[6] // 8 + 1, True


def from_nbit(content: Any, values: Sequence[int], size: int) -> Any:
    """Return the elements of a chunk of the N-bit filter.

    Parameters
    ----------
    content : bytes-like
        All that the filter made.
    values : sequence of int
        Parameters of the filter.
    size : int
        Bytes of the elements.

    Raises
    ------
    ValueError
        If they are not what the parameters state, or no plain numbers.
    """
    if len(values) > 1 and values[1]:
        return content
    if len(values) < 8 or values[3] != _ATOMIC:
        raise ValueError("its N-bit filter packs something else than numbers")
    _, _, count, _, width, order, precision, offset = values[:8]
    if count * width != size or width not in (1, 2, 4, 8) or precision + offset > 8 * width:
        raise ValueError(f"its N-bit filter packs {count} x {width} of {size} bytes")
    numbers = _unpacked_bits(content, count, precision) << np.uint64(offset)
    return numbers.astype(f"{'>' if order == _BIG else '<'}u{width}").tobytes()


def from_scale_offset(content: Any, values: Sequence[int], size: int) -> bytes:
    """Return the elements of a chunk of the scale-offset filter; see `from_nbit`."""
    if len(values) < 8 or len(content) < _HEADER:
        raise ValueError(f"it has {len(content)} bytes, fewer than its header")
    _, exponent, count, kind, width, sign, order, has_fill = values[:8]
    if count * width != size or width not in (1, 2, 4, 8):
        raise ValueError(f"its scale-offset filter packs {count} x {width} of {size} bytes")
    bits = int.from_bytes(content[:4], "little")
    if bits > 8 * width or content[4] > 8:
        raise ValueError(f"its scale-offset filter states {bits} bits of {8 * width}")
    body = content[_HEADER:]
    if bits == 8 * width:
        if len(body) != size:
            raise ValueError(f"it has {len(body)} instead of {size} bytes")
        return bytes(body)
    least = np.frombuffer(content[5 : 5 + content[4]].ljust(8, b"\0"), "<u8")
    numbers = _unpacked_bits(body, count, bits)
    fills = np.array(values[8:], "<u4").tobytes()[:width] if has_fill else b""
    missing = numbers == (1 << bits) - 1 if has_fill and len(fills) == width else None
    letter = "f" if kind == _FLOAT else "i" if sign else "u"
    if kind == _FLOAT:
        minimum = np.frombuffer(least.tobytes()[:width], f"<f{width}")
        scale = np.power(minimum.dtype.type(10), np.uint32(exponent).astype(np.int32))
        found = numbers.astype(minimum.dtype) / minimum.dtype.type(scale) + minimum
    else:
        found = (numbers + least).astype(f"<u{width}").view(f"<{letter}{width}")
    if missing is not None:
        found[missing] = np.frombuffer(fills, found.dtype)
    return bytes(found.astype(f"{'>' if order == _BIG else '<'}{letter}{width}").tobytes())


def _unpacked_bits(content: Any, count: int, bits: int) -> Array:
    """Return numbers of some bits each, as uint64; a byte may follow them."""
    needed = -(-count * bits // 8)
    if not needed <= len(content) <= needed + 1:
        raise ValueError(f"{count} numbers of {bits} bits are in {len(content)} bytes")
    if not bits:
        return np.zeros(count, np.uint64)
    single = np.unpackbits(np.frombuffer(content, np.uint8), count=count * bits)
    found = np.zeros(count, np.uint64)
    for column in single.reshape(count, bits).T:
        found = found << np.uint64(1) | column
    return found
