"""An array with its axes permuted and reversed, read on demand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parafovea.formats.source import Array, LazyArray, Slices, bounded


class TurnedArray:
    """An array with permuted and optionally reversed axes.

    Parameters
    ----------
    array : LazyArray
        As stored.
    order : sequence of int
        Stored axes that become z, y, x.
    flips : sequence of bool
        Whether z, y, x are reversed.
    """

    def __init__(self, array: LazyArray, order: Sequence[int], flips: Sequence[bool]) -> None:
        z, y, x = (array.shape[axis] for axis in order)
        self.shape = (z, y, x)
        self.dtype = array.dtype
        self._array, self._order, self._flips = array, order, flips

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1, (z, y, x)."""
        wanted = bounded(index, self.shape)
        stored = [slice(0, 0)] * 3
        for part, n, axis, flip in zip(wanted, self.shape, self._order, self._flips, strict=True):
            stored[axis] = slice(n - part.stop, n - part.start) if flip else part
        values = self._array[stored[0], stored[1], stored[2]].transpose(self._order)
        back = tuple(slice(None, None, -1 if flip else 1) for flip in self._flips)
        return np.ascontiguousarray(values[back])
