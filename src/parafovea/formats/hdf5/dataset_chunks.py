"""Decoding of the chunks of an HDF5 dataset, bounded and exact.

HDF5 takes what a filter returns, however little or much that is: memory that was never written
becomes voxels. So all filters that HDF5 has are undone here, and any other is an error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import h5py
import numpy as np
from numcodecs import Blosc, Fletcher32

from parafovea.errors import SourceError
from parafovea.formats.blosc_frames import check_frame
from parafovea.formats.hdf5.packed_bits import from_nbit, from_scale_offset, packed_size
from parafovea.formats.source import Array
from parafovea.formats.unpacking import check_size, unpacked

#: Numbers of filters: those of HDF5, that of h5py, and three registered ones.
_DEFLATE, _SHUFFLE, _FLETCHER, _SZIP, _NBIT, _SCALE_OFFSET = 1, 2, 3, 4, 5, 6
_LZF, _BZIP2, _BLOSC, _ZSTD = 32000, 307, 32001, 32015
_UNPACKING = (_DEFLATE, _SZIP, _LZF, _BZIP2, _BLOSC, _ZSTD)
_KNOWN = (*_UNPACKING, _SHUFFLE, _FLETCHER, _NBIT, _SCALE_OFFSET)

#: Registered filters that are not undone.
_OTHERS = {
    305: "LZO",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32017: "SZ",
    32019: "FCIDECOMP",
    32022: "granular BitRound",
    32024: "SZ3",
    32026: "Blosc2",
}

Index = tuple[slice | int, ...]


class _Filter(NamedTuple):
    """A filter, with the bytes that its writer put in: just as many, or at most."""

    number: int
    values: tuple[int, ...]
    size: int
    exact: bool


def check_chunking(path: str, dataset: h5py.Dataset) -> None:
    """Raise `SourceError` if chunks are larger than the limit, or have a filter not undone here.

    Parameters
    ----------
    path : str
        Used in the error message.
    dataset : h5py.Dataset
        Open dataset.
    """
    if dataset.chunks is None:
        return
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    check_size(path, size, f"each chunk {dataset.chunks} of {dataset.dtype}")
    for number, name in _filters(dataset):
        if number not in _KNOWN:
            raise SourceError(
                f"{path} is stored by the HDF5 filter {number} ({name}), which is not supported: "
                "write it again with gzip, lzf, zstd or blosc, for example by h5repack -f GZIP=1"
            )


def _filters(dataset: h5py.Dataset) -> list[tuple[int, str]]:
    plist = dataset.id.get_create_plist()
    found = [plist.get_filter(k) for k in range(plist.get_nfilters())]
    return [(n, _OTHERS.get(n) or name.decode("utf-8", "replace")) for n, _, _, name in found]


def chunk_reader(dataset: h5py.Dataset) -> Callable[[Index], Array] | None:
    """Return a function that reads a part of a dataset, or None if it has no filters.

    Parameters
    ----------
    dataset : h5py.Dataset
        Open dataset; numbers, with filters that passed `check_chunking`.
    """
    plist = dataset.id.get_create_plist()
    if dataset.chunks is None or not plist.get_nfilters():
        return None
    filters = [plist.get_filter(k) for k in range(plist.get_nfilters())]
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
    kind = dataset.id.get_type()
    count = math.prod(dataset.chunks)
    used = []
    size, exact, packed = count * kind.get_size(), True, False
    for number, _, values, _ in (each for k, each in enumerate(filters) if not mask >> k & 1):
        if packed and number in (*_UNPACKING, _SHUFFLE, _NBIT, _SCALE_OFFSET):
            raise ValueError("it is compressed twice")
        used.append(_Filter(number, values, size, exact))
        if number in (_NBIT, _SCALE_OFFSET):
            size, exact = packed_size(number == _NBIT, values, size)
        elif number == _FLETCHER:
            size += 4
        packed |= number in _UNPACKING
    if not packed and (len(raw) > size or (exact and len(raw) != size)):
        raise ValueError(f"it has {len(raw)} instead of {size} bytes")
    content: Any = raw
    for each in reversed(used):
        content = _unfiltered(content, each, kind.get_size())
    return _numbers(content, kind, dataset)


def _numbers(content: Any, kind: Any, dataset: h5py.Dataset) -> Array:
    """Return the elements of a chunk in the type in which h5py reads them."""
    native = h5py.h5t.py_create(dataset.dtype, logical=True)
    if kind == native:
        return np.frombuffer(content, dataset.dtype).reshape(dataset.chunks)
    # such as integers of 12 bits
    count = math.prod(dataset.chunks)
    buffer = np.zeros(count * max(kind.get_size(), native.get_size()), np.uint8)
    buffer[: len(content)] = np.frombuffer(content, np.uint8)
    h5py.h5t.convert(kind, native, count, buffer)
    numbers: Array = buffer[: count * native.get_size()].view(dataset.dtype)
    return numbers.reshape(dataset.chunks)


def _unfiltered(content: Any, step: _Filter, element: int) -> Any:
    number, values, size, exact = step
    codec = {_DEFLATE: "zlib", _ZSTD: "zstd", _BZIP2: "bz2"}.get(number)
    if codec is not None:
        return unpacked(codec, content, size, exact=exact)
    if number == _LZF:
        return _lzf(content, size, exact=exact)
    if number == _SZIP:
        return _szip(content, values, size)
    if number == _SHUFFLE:
        return _unshuffled(content, values[0] if values else element)
    if number == _FLETCHER:
        return bytes(Fletcher32().decode(content))
    if number == _NBIT:
        return from_nbit(content, values, size)
    if number == _SCALE_OFFSET:
        return from_scale_offset(content, values, size)
    if not exact:
        size = min(size, int.from_bytes(content[4:8], "little"))
    shuffle = int(values[5]) if len(values) > 5 else None
    check_frame(content, size, shuffle=shuffle, elements=[element])
    return Blosc().decode(content)


def _unshuffled(content: Any, element: int) -> bytes:
    """Return bytes in their order: HDF5 leaves those that are less than an element at the end."""
    stored = np.frombuffer(content, np.uint8)
    whole = len(stored) // element * element
    return bytes(stored[:whole].reshape(element, -1).T.tobytes() + stored[whole:].tobytes())


def _lzf(content: Any, size: int, *, exact: bool) -> bytes:
    """Return the content of an LZF stream, every byte of which belongs to it."""
    import imagecodecs

    # one more byte than there has to be, to tell whether there is more
    found = bytes(imagecodecs.lzf_decode(content, out=size + 1))
    if len(found) > size or (exact and len(found) != size):
        raise ValueError(f"it unpacks to {len(found)} instead of {size} bytes")
    return found


def _szip(content: Any, values: tuple[int, ...], size: int) -> bytes:
    """Return the content of an SZIP stream, before which its length is."""
    import imagecodecs

    stated = int.from_bytes(content[:4], "little")
    if len(content) < 5 or stated != size:
        raise ValueError(f"its SZIP stream unpacks to {stated} instead of {size} bytes")
    found = bytes(imagecodecs.szip_decode(content[4:], *values[:4], out=size))
    if len(found) != size:
        raise ValueError(f"it unpacks to {len(found)} instead of {size} bytes")
    return found
