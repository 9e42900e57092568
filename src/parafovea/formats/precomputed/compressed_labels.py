"""Neuroglancer's compressed segmentation: labels as indices into tables, block by block.

The decoders of the libraries trust the offsets in a chunk and read past its end. Here, numpy
checks each of them. A chunk is of 32-bit words, little-endian: for each channel where its data
begin; of each block two words, where its table is and how many bits an index has, and where the
indices are; then indices and tables.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_BITS = (0, 1, 2, 4, 8, 16, 32)


def decode_labels(
    data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], block: tuple[int, ...]
) -> Array:
    """Return the labels of a chunk.

    Parameters
    ----------
    data : bytes
        All of the chunk.
    shape : tuple of int
        Of the chunk along x, y, z, channel.
    dtype : dtype
        uint32 or uint64.
    block : tuple of int
        Shape of a block along x, y, z.

    Returns
    -------
    ndarray
        (x, y, z, channel) of `dtype`.

    Raises
    ------
    ValueError
        If an offset lies outside of the chunk.
    """
    if dtype not in (np.uint32, np.uint64) or len(block) != 3 or min(block) < 1:
        raise ValueError(f"labels of {dtype} in blocks of {block}")
    if len(data) % 4:
        raise ValueError(f"it has {len(data)} bytes, which are no whole words")
    words = np.frombuffer(data, "<u4")
    channels = shape[3]
    if len(words) < channels:
        raise ValueError(f"it has {len(words)} words for {channels} channels")
    labels = np.empty(shape, dtype, order="F")
    for channel in range(channels):
        begin = int(words[channel])
        if begin > len(words):
            raise ValueError(f"channel {channel} begins at word {begin} of {len(words)}")
        _channel(words[begin:], labels[..., channel], block)
    return labels


def _channel(words: Array, labels: Array, block: tuple[int, ...]) -> None:
    counts = [-(-n // k) for n, k in zip(labels.shape, block, strict=True)]
    total, size = int(np.prod(counts)), int(np.prod(block))
    if len(words) < 2 * total:
        raise ValueError(f"it has {len(words)} words for the headers of {total} blocks")
    headers = words[: 2 * total].reshape(total, 2)
    wide = labels.dtype.itemsize // 4
    places = itertools.product(*(range(n) for n in counts[::-1]))
    for (first, values), (z, y, x) in zip(headers.tolist(), places, strict=True):
        table, bits = first & 0xFFFFFF, first >> 24
        if bits not in _BITS:
            raise ValueError(f"a block has indices of {bits} bits")
        found = _indices(words, values, bits, size)
        last = table + (int(found.max()) + 1) * wide
        if last > len(words):
            raise ValueError(f"a table ends at word {last} of {len(words)}")
        entries = words[table:last].view(f"<u{4 * wide}") if wide == 1 else _wide(words[table:last])
        cube = entries[found].reshape(block, order="F")
        start = tuple(i * k for i, k in zip((x, y, z), block, strict=True))
        part = labels[tuple(slice(s, s + k) for s, k in zip(start, block, strict=True))]
        part[...] = cube[tuple(slice(0, n) for n in part.shape)]


def _wide(words: Array) -> Array:
    pairs = words.reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0] | (pairs[:, 1] << np.uint64(32))


def _indices(words: Array, begin: int, bits: int, size: int) -> Array:
    """Return the indices of a block, of a number of bits each."""
    if bits == 0:
        return np.zeros(size, np.int64)
    each = 32 // bits
    end = begin + -(-size // each)
    if end > len(words):
        raise ValueError(f"the indices of a block end at word {end} of {len(words)}")
    shifts = np.arange(each, dtype=np.uint32) * np.uint32(bits)
    mask = np.uint32((1 << bits) - 1)
    found = (words[begin:end, None].astype(np.uint32) >> shifts) & mask
    return found.reshape(-1)[:size].astype(np.int64)
