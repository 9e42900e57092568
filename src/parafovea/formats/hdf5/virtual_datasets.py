"""Reading of parts of an HDF5 dataset, of which a virtual one takes its voxels from others.

HDF5 would read the chunks of these others by itself, unchecked.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from parafovea.formats.hdf5.dataset_chunks import Index, chunk_reader
from parafovea.formats.hdf5.dataset_parts import opened_dataset, opened_file
from parafovea.formats.source import Array

_Bounds = tuple[tuple[int, ...], tuple[int, ...]]


class _Block(NamedTuple):
    """A block of a virtual dataset, and of the dataset that it is from: starts and shapes.

    The latter is None for the whole of that dataset.
    """

    file: str
    name: str
    target: _Bounds
    source: _Bounds | None


def read_part(dataset: h5py.Dataset, index: Index) -> Array:
    """Return the elements selected by one slice or integer per axis.

    Parameters
    ----------
    dataset : h5py.Dataset
        Open dataset, whose parts were checked by `check_parts`.
    index : tuple of slice or int
        Slices of step 1.
    """
    blocks = _blocks(dataset) if dataset.is_virtual else None
    if blocks is not None:
        bounds = [
            (part, part + 1) if isinstance(part, int) else part.indices(n)[:2]
            for part, n in zip(index, dataset.shape, strict=True)
        ]
        found = _read(dataset, blocks, bounds)
        if found is not None:
            return found[tuple(0 if isinstance(part, int) else slice(None) for part in index)]
    read = None if dataset.is_virtual else chunk_reader(dataset)
    return np.asarray(dataset[index] if read is None else read(index))


def _blocks(dataset: h5py.Dataset) -> list[_Block] | None:
    """Return the blocks of a virtual dataset; None if a part of it is no block of numbers."""
    found = []
    for each in dataset.virtual_sources():
        if "%" in each.file_name + each.dset_name:
            return None
        whole = each.src_space.get_select_type() == h5py.h5s.SEL_ALL
        target, source = _bounds(each.vspace), None if whole else _bounds(each.src_space)
        if target is None or (source is None and not whole):
            return None
        found.append(_Block(each.file_name, each.dset_name, target, source))
    return found if dataset.dtype.kind in "buif" else None


def _bounds(space: Any) -> _Bounds | None:
    """Return start and shape of a selection, or None if it is not one block."""
    try:
        first, last = space.get_select_bounds()
        count = space.get_select_npoints()
    except RuntimeError:  # without an end
        return None
    shape = tuple(int(b - a + 1) for a, b in zip(first, last, strict=True))
    return (tuple(int(a) for a in first), shape) if math.prod(shape) == count else None


def _read(
    dataset: h5py.Dataset, blocks: Sequence[_Block], bounds: Sequence[tuple[int, int]]
) -> Array | None:
    """Return a box of a virtual dataset; None if it is not a copy of blocks of other datasets."""
    out = np.full([stop - start for start, stop in bounds], dataset.fillvalue, dataset.dtype)
    for block in blocks:
        common = [
            (max(start, first), min(stop, first + n))
            for (start, stop), first, n in zip(bounds, *block.target, strict=True)
        ]
        if any(low >= high for low, high in common):
            continue
        inner = [
            slice(low - first, high - first)
            for (low, high), first in zip(common, block.target[0], strict=True)
        ]
        values = _values(dataset, block, inner)
        if values is None:
            return None
        target = tuple(
            slice(low - start, high - start)
            for (low, high), (start, _) in zip(common, bounds, strict=True)
        )
        out[target] = values.reshape([high - low for low, high in common])
    return out


def _values(dataset: h5py.Dataset, block: _Block, inner: Sequence[slice]) -> Array | None:
    """Return a part of a block from the dataset that it is from."""
    with contextlib.ExitStack() as stack:
        file = dataset.file
        if block.file != ".":
            beside = Path(file.filename).parent / block.file
            file = stack.enter_context(opened_file(str(beside)))
        source = opened_dataset(file, block.name)
        start, shape = block.source or ((0,) * source.ndim, source.shape)
        # axes of one element may be in one of both alone; the others are in the same order
        long = [(n, part) for n, part in zip(block.target[1], inner, strict=True) if n != 1]
        if [n for n in shape if n != 1] != [n for n, _ in long] or source.dtype != dataset.dtype:
            return None
        parts = iter(part for _, part in long)
        index = []
        for first, n in zip(start, shape, strict=True):
            part = slice(0, 1) if n == 1 else next(parts)
            index.append(slice(first + part.start, first + part.stop))
        return read_part(source, tuple(index))
