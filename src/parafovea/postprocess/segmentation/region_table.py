"""Measurements of components that merge exactly over any division of a volume into boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import cc3d
import numpy as np

from parafovea.geometry.grid import Box

Array = np.ndarray[Any, Any]

_FAR = int(np.iinfo(np.int64).max)


def column(
    merge: np.ufunc, neutral: int, *, axes: int = 0, dtype: type = np.int64
) -> dict[str, Any]:
    """Return the metadata of the field of a `Table` that holds a column.

    Parameters
    ----------
    merge : ufunc
        Merges two values of a column; associative and commutative.
    neutral : int
        The value that changes no other one.
    axes : int
        Values per row, for a column (n, axes); 0 for a column (n,).
    dtype : type
        Data type of the column.
    """
    return {"merge": merge, "neutral": neutral, "axes": axes, "dtype": dtype}


@dataclass(frozen=True)
class Table:
    """One row per component; the rows of a component's parts merge in any order."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns().values())))

    def columns(self) -> dict[str, Array]:
        """Return the columns by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def of(cls, columns: Mapping[str, Array]) -> Self:
        """Return the table with these columns, of which others are ignored."""
        return cls(**{each.name: columns[each.name] for each in fields(cls)})

    @classmethod
    def neutral(cls, count: int = 0) -> Self:
        """Return a table of components without voxels."""
        made = {}
        for each in fields(cls):
            shape = (count, each.metadata["axes"]) if each.metadata["axes"] else (count,)
            made[each.name] = np.full(shape, each.metadata["neutral"], each.metadata["dtype"])
        return cls(**made)

    @classmethod
    def joined(cls, tables: Iterable[Self]) -> Self:
        """Return the rows of all tables, in order."""
        parts = [cls.neutral(), *tables]
        names = [each.name for each in fields(cls)]
        return cls(**{name: np.concatenate([getattr(t, name) for t in parts]) for name in names})

    def take(self, rows: Array) -> Self:
        """Return the table of the given rows, in the given order."""
        return type(self)(**{name: values[rows] for name, values in self.columns().items()})

    def grouped(self, group: Array, count: int) -> Self:
        """Return the table of merged rows.

        Parameters
        ----------
        group : (n,) int64
            Row of the result that each row is merged into, from 0.
        count : int
            Number of rows of the result.
        """
        merged = type(self).neutral(count)
        for each in fields(self):
            each.metadata["merge"].at(getattr(merged, each.name), group, getattr(self, each.name))
        return merged


@dataclass(frozen=True)
class RegionTable(Table):
    """Measurements of objects.

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

    value: Array = field(metadata=column(np.maximum, 0))
    voxels: Array = field(metadata=column(np.add, 0))
    first: Array = field(metadata=column(np.minimum, _FAR))
    sums: Array = field(metadata=column(np.add, 0, axes=3))
    start: Array = field(metadata=column(np.minimum, _FAR, axes=3))
    stop: Array = field(metadata=column(np.maximum, 0, axes=3))

    @property
    def centroids(self) -> Array:
        """Mean voxel index of each region: (n, 3) float64 along z, y, x."""
        return np.asarray(self.sums / np.maximum(self.voxels, 1)[:, None])


def measure_regions(
    labels: Array, values: Array, *, count: int, box: Box, shape: Sequence[int]
) -> RegionTable:
    """Measure the regions of a box of a volume.

    Parameters
    ----------
    labels : (z, y, x) unsigned integer
        Regions 1 to `count`, each present; 0 is background.
    values : (z, y, x) integer
        Class of every voxel, constant within a region.
    count : int
        Number of regions.
    box : Box
        Where the labels lie in the volume.
    shape : sequence of int
        Shape of the volume along z, y, x.

    Returns
    -------
    RegionTable
        Row i is region i + 1; indices and positions are those of the volume.
    """
    if count == 0:
        return RegionTable.neutral()
    measured = cc3d.statistics(labels, no_slice_conversion=True)
    voxels = measured["voxel_counts"][1 : count + 1].astype(np.int64)
    boxes = measured["bounding_boxes"][1 : count + 1].astype(np.int64)
    # The library divides an exact sum by the count; rounding recovers the exact sum.
    sums = np.rint(measured["centroids"][1 : count + 1] * voxels[:, None]).astype(np.int64)
    offset = np.array(box.start)
    first = first_voxels(labels, count)
    return RegionTable(
        value=values.reshape(-1)[first].astype(np.int64),
        voxels=voxels,
        first=positions(first, box, shape),
        sums=sums + voxels[:, None] * offset,
        start=boxes[:, 0::2] + offset,
        stop=boxes[:, 1::2] + 1 + offset,
    )


def count_voxels(labels: Array, count: int) -> Array:
    """Return the number of voxels of each label from 1 to `count`: (count,) int64."""
    if count == 0:
        return np.zeros(0, np.int64)
    measured = cc3d.statistics(labels, no_slice_conversion=True)
    return np.asarray(measured["voxel_counts"][1 : count + 1].astype(np.int64))


def first_voxels(labels: Array, count: int) -> Array:
    """Return the index of the first voxel of each label in the flat array: (count,) int64.

    Parameters
    ----------
    labels : (z, y, x) unsigned integer
        Labels 1 to `count`, each present; 0 is background.
    count : int
        Number of labels.
    """
    # Written backwards, so that the first voxel of a label is written last.
    area = labels.shape[1] * labels.shape[2]
    backwards = np.arange(area)[::-1]
    first = np.zeros(count + 1, np.int64)
    for z in reversed(range(len(labels))):
        first[labels[z].reshape(-1)[::-1]] = backwards + z * area
    return first[1:]


def positions(indices: Array, box: Box, shape: Sequence[int]) -> Array:
    """Return positions in z, y, x scan order of a volume, of indices in a flat box: (n,) int64."""
    z, y, x = np.unravel_index(indices, box.shape)
    inside = ((z + box.start[0]) * shape[1] + y + box.start[1]) * shape[2] + x + box.start[2]
    return np.asarray(inside, dtype=np.int64)
