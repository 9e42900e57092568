"""Measurements of labelled regions that add up exactly over any division into slabs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np

Array = np.ndarray[Any, Any]

_FAR = np.iinfo(np.int64).max


@dataclass(frozen=True)
class RegionTable:
    """One row per region; counts and sums are integers, so the order of addition does not matter.

    Parameters
    ----------
    value : (n,) int64
        Class of each region.
    voxels : (n,) int64
        Number of voxels.
    first : (n,) int64
        Position of the region's first voxel in z, y, x scan order of the volume.
    sums : (n, 3) int64
        Sums of the voxels' indices along z, y, x.
    start, stop : (n, 3) int64
        Half-open bounding box along z, y, x, in voxels.
    """

    value: Array
    voxels: Array
    first: Array
    sums: Array
    start: Array
    stop: Array

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.voxels)

    @property
    def centroids(self) -> Array:
        """Mean voxel index of each region: (n, 3) float64 along z, y, x."""
        return np.asarray(self.sums / np.maximum(self.voxels, 1)[:, None])

    def take(self, rows: Array) -> RegionTable:
        """Return the table of the given rows, in the given order."""
        return RegionTable(
            self.value[rows],
            self.voxels[rows],
            self.first[rows],
            self.sums[rows],
            self.start[rows],
            self.stop[rows],
        )

    def grouped(self, group: Array, count: int) -> RegionTable:
        """Return the table of merged regions.

        Parameters
        ----------
        group : (n,) int64
            Row of the result that each row is merged into, from 0.
        count : int
            Number of rows of the result; each must have a member.
        """
        table = empty_table(count)
        table.value[group] = self.value
        np.add.at(table.voxels, group, self.voxels)
        np.minimum.at(table.first, group, self.first)
        np.add.at(table.sums, group, self.sums)
        np.minimum.at(table.start, group, self.start)
        np.maximum.at(table.stop, group, self.stop)
        return table


def empty_table(count: int = 0) -> RegionTable:
    """Return a table of `count` regions without voxels, to accumulate into."""
    return RegionTable(
        value=np.zeros(count, np.int64),
        voxels=np.zeros(count, np.int64),
        first=np.full(count, _FAR),
        sums=np.zeros((count, 3), np.int64),
        start=np.full((count, 3), _FAR),
        stop=np.zeros((count, 3), np.int64),
    )


def concatenated(tables: Sequence[RegionTable]) -> RegionTable:
    """Return the concatenation of tables."""
    parts = [empty_table(), *tables]
    return RegionTable(
        np.concatenate([t.value for t in parts]),
        np.concatenate([t.voxels for t in parts]),
        np.concatenate([t.first for t in parts]),
        np.concatenate([t.sums for t in parts]),
        np.concatenate([t.start for t in parts]),
        np.concatenate([t.stop for t in parts]),
    )


def measure_regions(labels: Array, values: Array, *, count: int, plane: int) -> RegionTable:
    """Measure the regions of one slab.

    Parameters
    ----------
    labels : (z, y, x) unsigned integer
        Regions 1 to `count`, each present; 0 is background. The slab spans the volume in y and x.
    values : (z, y, x) integer
        Class of every voxel, constant within a region.
    count : int
        Number of regions.
    plane : int
        Index of the slab's first plane in the volume.

    Returns
    -------
    RegionTable
        Row i is region i + 1; indices and positions are those of the volume.
    """
    if count == 0:
        return empty_table()
    measured = cc3d.statistics(labels, no_slice_conversion=True)
    voxels = measured["voxel_counts"][1 : count + 1].astype(np.int64)
    boxes = measured["bounding_boxes"][1 : count + 1].astype(np.int64)
    # The library divides an exact sum by the count; rounding recovers the exact sum.
    sums = np.rint(measured["centroids"][1 : count + 1] * voxels[:, None]).astype(np.int64)
    offset = np.array([plane, 0, 0])
    first = _first_positions(labels, count)
    area = labels.shape[1] * labels.shape[2]
    return RegionTable(
        value=values.reshape(-1)[first].astype(np.int64),
        voxels=voxels,
        first=first + plane * area,
        sums=sums + voxels[:, None] * offset,
        start=boxes[:, 0::2] + offset,
        stop=boxes[:, 1::2] + 1 + offset,
    )


def _first_positions(labels: Array, count: int) -> Array:
    # Written backwards, so that the first voxel of a label is written last.
    area = labels.shape[1] * labels.shape[2]
    backwards = np.arange(area)[::-1]
    first = np.zeros(count + 1, np.int64)
    for z in reversed(range(len(labels))):
        first[labels[z].reshape(-1)[::-1]] = backwards + z * area
    return first[1:]
