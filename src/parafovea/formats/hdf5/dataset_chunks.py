"""Decoding of the chunks of an HDF5 dataset, bounded and exact.

HDF5 takes what a filter returns, however little or much that is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from numcodecs import Blosc, Fletcher32, Shuffle

from parafovea.formats.blosc_frames import check_frame
from parafovea.formats.source import Array
from parafovea.formats.unpacking import unpacked

#: Numbers of filters: three of HDF5, that of h5py, and two registered ones.
_DEFLATE, _SHUFFLE, _FLETCHER, _LZF, _BLOSC, _ZSTD = 1, 2, 3, 32000, 32001, 32015
_UNPACKING = (_DEFLATE, _LZF, _BLOSC, _ZSTD)
_KNOWN = (*_UNPACKING, _SHUFFLE, _FLETCHER)

Index = tuple[slice | int, ...]


def chunk_reader(dataset: h5py.Dataset) -> Callable[[Index], Array] | None:
    """Return a function that reads a part of a dataset, or None if HDF5 itself has to.

    Parameters
    ----------
    dataset : h5py.Dataset
        Open dataset; numbers in chunks, with filters that are known here.
    """
    plist = dataset.id.get_create_plist()
    if dataset.chunks is None or not plist.get_nfilters() or dataset.dtype.kind not in "buif":
        return None
    filters = [plist.get_filter(k) for k in range(plist.get_nfilters())]
    plain = h5py.h5t.py_create(dataset.dtype, logical=True) == dataset.id.get_type()
    if not plain or any(each[0] not in _KNOWN for each in filters):
        return None
    return lambda index: _read(dataset, filters, index)


def _read(dataset: h5py.Dataset, filters: list[Any], index: Index) -> Array:
    chunks = dataset.chunks
    bounds = [
        (part, part + 1) if isinstance(part, int) else part.indices(n)[:2]
        for part, n in zip(index, dataset.shape, strict=True)
    ]
    out = np.full([stop - start for start, stop in bounds], dataset.fillvalue, dataset.dtype)
    ranges = [
        range(start // n, -(-stop // n)) for (start, stop), n in zip(bounds, chunks, strict=True)
    ]
    for place in itertools.product(*ranges):
        corner = tuple(k * n for k, n in zip(place, chunks, strict=True))
        if not dataset.id.get_chunk_info_by_coord(corner).size:
            continue
        mask, raw = dataset.id.read_direct_chunk(corner)
        try:
            chunk = _decoded(raw, filters, mask, dataset)
        except (RuntimeError, SystemError, ValueError) as error:
            raise ValueError(f"the chunk at {corner} is damaged: {error}") from error
        source, target = [], []
        for (start, stop), first, n in zip(bounds, corner, chunks, strict=True):
            low, high = max(start, first), min(stop, first + n)
            source.append(slice(low - first, high - first))
            target.append(slice(low - start, high - start))
        out[tuple(target)] = chunk[tuple(source)]
    kept = tuple(0 if isinstance(part, int) else slice(None) for part in index)
    return np.asarray(out[kept])


def _decoded(raw: bytes, filters: list[Any], mask: int, dataset: h5py.Dataset) -> Array:
    """Return a chunk; bit k of the mask says that filter k was left out."""
    used = [each for k, each in enumerate(filters) if not mask >> k & 1]
    # bytes after each step of the writer; -1 if they depend on the voxels
    sizes = [math.prod(dataset.chunks) * dataset.dtype.itemsize]
    for number, *_ in used:
        size = sizes[-1]
        sizes.append({_SHUFFLE: size, _FLETCHER: size + 4}.get(number, -1) if size >= 0 else -1)
    packed = [size for (number, *_), size in zip(used, sizes, strict=False) if number in _UNPACKING]
    if -1 in packed:
        raise ValueError("it is compressed twice")
    if sizes[-1] >= 0 and len(raw) != sizes[-1]:
        raise ValueError(f"it has {len(raw)} instead of {sizes[-1]} bytes")
    content: Any = raw
    for (number, _, values, _), size in reversed([*zip(used, sizes, strict=False)]):
        content = _unfiltered(content, number, values, size, dataset.dtype.itemsize)
    return np.frombuffer(content, dataset.dtype).reshape(dataset.chunks)


def _unfiltered(content: Any, number: int, values: Any, size: int, element: int) -> Any:
    if number == _DEFLATE:
        return unpacked("zlib", content, size)
    if number == _ZSTD:
        return unpacked("zstd", content, size)
    if number == _LZF:
        return _lzf(content, size)
    if number == _SHUFFLE:
        return bytes(Shuffle(element).decode(content))
    if number == _FLETCHER:
        return bytes(Fletcher32().decode(content))
    shuffle = int(values[5]) if len(values) > 5 else None
    check_frame(content, size, shuffle=shuffle, elements=[element])
    return Blosc().decode(content)


def _lzf(content: Any, size: int) -> bytes:
    """Return the content of an LZF stream, every byte of which belongs to it."""
    import imagecodecs

    # one more byte than there has to be, to tell whether there is more
    found = bytes(imagecodecs.lzf_decode(content, out=size + 1))
    if len(found) != size:
        raise ValueError(f"it unpacks to {len(found)} instead of {size} bytes")
    return found
