"""Uncompressed contiguous voxels of a file, memory-mapped for each read."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from parafovea.formats.source import Array


class MappedVoxels:
    """An uncompressed contiguous array in a file.

    Parameters
    ----------
    path : str
        The file; opened for each read.
    offset : int
        Bytes before the first voxel.
    shape : tuple of int
        All axes.
    dtype : dtype
        As stored, in the file's byte order.
    order : {"C", "F"}
        "C" if the last axis is the fastest, "F" if the first is.
    """

    def __init__(
        self,
        path: str,
        offset: int,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        order: Literal["C", "F"],
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._path = path
        self._offset = offset
        self._order = order

    @property
    def stop(self) -> int:
        """Byte offset after the last voxel."""
        return self._offset + math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, index: tuple[slice | int, ...]) -> Array:
        """Return the elements selected by one slice or integer per axis."""
        mapped: Any = np.memmap(
            self._path, self.dtype, "r", self._offset, self.shape, order=self._order
        )
        return np.array(mapped[index])
