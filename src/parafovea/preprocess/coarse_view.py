"""A coarse view of a whole scan, on which body and lungs are found at low cost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.geometry.grid import Box, Grid, shape3, vector3
from parafovea.geometry.resample import ReadBox, apply_weights, resample_box, source_slabs

Array = np.ndarray[Any, Any]

#: Voxel size of the view in millimetres; body and lungs need no finer detail.
FINEST = 2.0

#: Maximum number of voxels of the view; a longer scan gets larger voxels.
LARGEST_VIEW = 2**24

#: Range in HU to which values are clipped: padding is far below air, and metal far above bone.
RANGE = (-1024.0, 1500.0)


@dataclass(frozen=True)
class CoarseArray:
    """An array on a coarse grid over a scan.

    Parameters
    ----------
    values : (z, y, x)
        HU (float32) or a mask (bool).
    grid : Grid
        In millimetres, in the world of the scan's grid.
    """

    values: Array
    grid: Grid

    def box_of(self, box: Box, grid: Grid) -> Box:
        """Return the box of voxels that intersect a box of another grid in the same world.

        Parameters
        ----------
        box : Box
            Voxels of `grid`; may extend beyond it.
        grid : Grid
            In any unit.

        Returns
        -------
        Box
            Voxels of this array, at least one along each axis; the nearest ones if outside.
        """
        fine = grid.converted(self.grid.unit)
        low = self.grid.index(fine.world([a - 0.5 for a in box.start]))
        high = self.grid.index(fine.world([b - 0.5 for b in box.stop]))
        last = [n - 1 for n in self.grid.shape]
        # A voxel i covers i - 0.5 to i + 0.5.
        start = [min(max(round(a + 1e-6), 0), n) for a, n in zip(low, last, strict=True)]
        end = [min(max(round(b - 1e-6), 0), n) for b, n in zip(high, last, strict=True)]
        return Box(shape3(start), shape3([e + 1 for e in end]))

    def nearest(self, points: Array) -> Array:
        """Return the nearest voxel's value at world positions (n, 3), z, y, x in millimetres."""
        index = np.rint((points - np.array(self.grid.origin)) / np.array(self.grid.spacing))
        inside = np.clip(index.astype(np.int64), 0, np.array(self.grid.shape) - 1)
        return np.asarray(self.values[tuple(inside.T)])


def coarse_view(read: ReadBox, grid: Grid) -> CoarseArray:
    """Return a scan in voxels of about two millimetres, each the mean over its extent.

    Parameters
    ----------
    read : callable
        Returns the voxels (z, y, x) of a box of the scan, in HU.
    grid : Grid
        Grid of the scan, in any unit.

    Returns
    -------
    CoarseArray
        float32, clipped to `RANGE`; not finer than the scan. The scan is read once, in slabs.
    """
    source, target = grid.converted("millimeter"), view_grid(grid)
    values = resample_box(lambda box: _cut(read(box)), source, target, target.box)
    return CoarseArray(values, target)


class StreamedView:
    """Coarse view of a scan, built from planes that are read for another purpose.

    Parameters
    ----------
    grid : Grid
        Grid of the scan, in any unit.
    """

    def __init__(self, grid: Grid) -> None:
        self._target = view_grid(grid)
        source = grid.converted("millimeter")
        self._next = deque(source_slabs(source, self._target, self._target.box))
        # planes already added that the next slab needs, and the index of the first one
        self._held = np.empty((0, *grid.shape[1:]))
        self._first = 0
        self._slabs: list[Array] = []

    def add(self, box: Box, voxels: Array) -> None:
        """Add whole planes, each once, in z order.

        Parameters
        ----------
        box : Box
            Position of the planes in the scan.
        voxels : (z, y, x)
            Values in HU.
        """
        if len(self._held):
            self._held = np.concatenate([self._held, voxels])
        else:
            self._held, self._first = voxels, box.start[0]
        while self._next and self._next[0][0].stop[0] <= box.stop[0]:
            needed, weights = self._next.popleft()
            own = needed.relative_to((self._first, 0, 0))
            self._slabs.append(apply_weights(_cut(self._held[own.slices]), weights))
        begin = self._next[0][0].start[0] if self._next else box.stop[0]
        passed = min(max(0, begin - self._first), len(self._held))
        # a copy, so that the other planes can be released
        self._held, self._first = np.array(self._held[passed:]), self._first + passed

    @property
    def view(self) -> CoarseArray:
        """The view, as returned by `coarse_view`; available once all planes have been added."""
        if self._next:
            raise AssertionError("a view of all planes")
        return CoarseArray(np.concatenate(self._slabs), self._target)


def _cut(voxels: Array) -> Array:
    return np.asarray(np.clip(np.nan_to_num(voxels, nan=RANGE[0]), *RANGE))


def view_grid(grid: Grid) -> Grid:
    """Return the grid of a scan's coarse view, in millimetres.

    Parameters
    ----------
    grid : Grid
        Grid of the scan, in any unit.
    """
    source, step = grid.converted("millimeter"), FINEST
    while True:
        found = source.resampled(vector3([max(step, s) for s in source.spacing]))
        if found.size <= LARGEST_VIEW:
            return found
        step *= 1.25


def pooled(view: CoarseArray, factor: int) -> CoarseArray:
    """Return the means of blocks of `factor` voxels along each axis of at least that length."""
    stride = shape3([min(factor, n) for n in view.grid.shape])
    grid = view.grid.coarsened(stride)
    wide = [(0, g * k - n) for g, k, n in zip(grid.shape, stride, view.grid.shape, strict=True)]
    full = np.pad(view.values, wide, mode="edge")
    blocks = full.reshape([v for g, k in zip(grid.shape, stride, strict=True) for v in (g, k)])
    return CoarseArray(blocks.mean(axis=(1, 3, 5), dtype=np.float32), grid)
