"""Run-length encoded sets of voxels and their connected components.

A heatmap is below its threshold almost everywhere. Runs store only the foreground, so that the cost
of components scales with the foreground, and the result does not depend on how the volume was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from parafovea.geometry.grid import Shape

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Runs:
    """Voxels of a volume as runs along x, in z, y, x order.

    Parameters
    ----------
    shape : tuple of int
        Shape of the volume along z, y, x.
    row : (n,) int64
        Row of each run: ``z * shape[1] + y``.
    start, stop : (n,) int64
        Half-open span of each run along x.
    """

    shape: Shape
    row: Array
    start: Array
    stop: Array

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.row)

    @classmethod
    def from_positions(cls, shape: Shape, positions: Array) -> Runs:
        """Return the runs of voxels given by their ascending flat indices, int64."""
        row, x = np.divmod(positions, shape[2])
        first = np.ones(len(positions), bool)
        first[1:] = (np.diff(positions) != 1) | (x[1:] == 0)
        begins = np.flatnonzero(first)
        lengths = np.diff(np.append(begins, len(positions)))
        return cls(shape, row[begins], x[begins], x[begins] + lengths)

    @classmethod
    def concatenated(cls, shape: Shape, parts: Sequence[Runs]) -> Runs:
        """Return the concatenation of runs in z order."""
        none = np.zeros(0, np.int64)
        return cls(
            shape,
            np.concatenate([none, *(p.row for p in parts)]),
            np.concatenate([none, *(p.start for p in parts)]),
            np.concatenate([none, *(p.stop for p in parts)]),
        )

    @property
    def lengths(self) -> Array:
        """Number of voxels of each run: (n,) int64."""
        return np.asarray(self.stop - self.start)

    @property
    def first(self) -> Array:
        """Flat index of the first voxel of each run: (n,) int64, ascending."""
        return np.asarray(self.row * self.shape[2] + self.start)

    def positions(self) -> Array:
        """Return the flat index of every voxel: (voxels,) int64, ascending."""
        lengths = self.lengths
        skipped = np.repeat(self.first - np.cumsum(lengths) + lengths, lengths)
        return np.asarray(skipped + np.arange(len(skipped)))

    def take(self, chosen: Array) -> Runs:
        """Return a subset of the runs, by an ascending index or a mask."""
        return Runs(self.shape, self.row[chosen], self.start[chosen], self.stop[chosen])

    def containing(self, positions: Array) -> Array:
        """Return the index of the run that contains each voxel; every voxel must be in a run."""
        return np.asarray(np.searchsorted(self.first, positions, side="right") - 1)

    def components(self) -> tuple[Array, int]:
        """Label the components of runs connected over faces, edges and corners.

        Returns
        -------
        component : (n,) int64
            Component of each run, from 0, in the order of the components' first voxels.
        count : int
            Number of components.
        """
        if not len(self):
            return np.zeros(0, np.int64), 0
        pairs = np.concatenate([self._touching(dz, dy) for dz, dy in _FORWARD])
        ones = np.ones(len(pairs), np.int8)
        graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), (len(self), len(self)))
        count, group = connected_components(graph, directed=False)
        _, first = np.unique(group, return_index=True)
        rank = np.empty(count, np.int64)
        rank[np.argsort(first, kind="stable")] = np.arange(count)
        return rank[group], int(count)

    def _touching(self, dz: int, dy: int) -> Array:
        """Return pairs of touching runs, the second dz planes and dy rows after the first."""
        height, width = self.shape[1:]
        y = self.row % height + dy
        mine = np.flatnonzero((y >= 0) & (y < height))
        # One ascending key for row and x; spans end at `width`, so that rows stay separate.
        stride = width + 2
        target = (self.row[mine] + dz * height + dy) * stride
        low = np.searchsorted(self.row * stride + self.stop, target + self.start[mine], "left")
        high = np.searchsorted(self.row * stride + self.start, target + self.stop[mine], "right")
        counts = np.maximum(high - low, 0)
        begin = np.repeat(low - np.cumsum(counts) + counts, counts)
        other = begin + np.arange(len(begin))
        return np.stack([np.repeat(mine, counts), other], axis=1)


#: Offsets (planes, rows) to the later rows that are adjacent to a row.
_FORWARD = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Extents:
    """Sizes and positions of the components of runs.

    Parameters
    ----------
    voxels : (n,) int64
        Number of voxels of each component.
    start, stop : (n, 3) int64
        Half-open bounding box along z, y, x.
    centroid : (n, 3) float64
        Mean index along z, y, x.
    """

    voxels: Array
    start: Array
    stop: Array
    centroid: Array


def measure_extents(runs: Runs, component: Array, count: int) -> Extents:
    """Measure the components of runs; means are based on integer sums.

    Parameters
    ----------
    runs : Runs
        Voxels.
    component : (n,) int64
        Component of each run, from 0 to `count` - 1; each component has a run.
    count : int
        Number of components.
    """
    z, y = np.divmod(runs.row, runs.shape[1])
    lengths = runs.lengths
    voxels = np.zeros(count, np.int64)
    np.add.at(voxels, component, lengths)
    start = np.full((count, 3), np.iinfo(np.int64).max)
    stop = np.zeros((count, 3), np.int64)
    twice = np.zeros((count, 3), np.int64)
    spans = ((z, z + 1), (y, y + 1), (runs.start, runs.stop))
    for axis, (low, high) in enumerate(spans):
        np.minimum.at(start[:, axis], component, low)
        np.maximum.at(stop[:, axis], component, high)
        np.add.at(twice[:, axis], component, (low + high - 1) * lengths)
    return Extents(voxels, start, stop, twice / np.maximum(2 * voxels, 1)[:, None])
