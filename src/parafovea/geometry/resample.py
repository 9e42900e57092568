"""Separable linear resampling between grids in bounded memory, anti-aliased when downsampling.

Each axis is one small matrix with a row per target voxel. Downsampling stretches the triangle
kernel of linear interpolation to the larger voxel, as Pillow's and torch's anti-aliased bilinear
filters do, to prevent aliasing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box, Grid

Floats = NDArray[np.float32]
ReadBox = Callable[[Box], NDArray[Any]]

#: Source voxels in memory at once while a box is resampled.
SLAB_VOXELS = 2**24


@dataclass(frozen=True)
class AxisWeights:
    """Weights of a run of source values for each target value along one axis.

    Parameters
    ----------
    start : int
        Index of the first source value that is used.
    matrix : ndarray
        (target, source) float32; every row sums to 1.
    """

    start: int
    matrix: Floats

    @property
    def stop(self) -> int:
        """One past the last source index that is used."""
        return self.start + int(self.matrix.shape[1])

    def pooled(self, factor: int) -> AxisWeights:
        """Return the weights of means over `factor` targets, which must divide their number."""
        rows, columns = self.matrix.shape
        means = self.matrix.reshape(rows // factor, factor, columns).mean(axis=1)
        return AxisWeights(self.start, means)

    @property
    def is_identity(self) -> bool:
        """Whether the weights leave the values unchanged."""
        rows, columns = self.matrix.shape
        return rows == columns and bool(np.array_equal(self.matrix, np.eye(rows)))


def axis_weights(positions: NDArray[np.float64], count: int, factor: float) -> AxisWeights:
    """Return the weights that sample an axis at fractional source positions.

    Parameters
    ----------
    positions : ndarray
        (target,) float64, in source voxels; positions beyond the border take the border's value.
    count : int
        Number of source voxels.
    factor : float
        Target spacing over source spacing; above 1 the kernel widens by this factor.

    Returns
    -------
    AxisWeights
        Weights of the source voxels that contribute.
    """
    support = max(1.0, factor)
    inside = np.clip(positions, 0, count - 1)
    first = max(0, int(np.floor(inside.min() - support)) + 1)
    last = min(count - 1, int(np.ceil(inside.max() + support)) - 1)
    sources = np.arange(first, last + 1)
    weights = np.maximum(0.0, 1 - np.abs(sources[None, :] - inside[:, None]) / support)
    weights /= weights.sum(axis=1, keepdims=True)
    return AxisWeights(first, weights.astype(np.float32))


def box_weights(
    source: Grid, target: Grid, box: Box, *, antialias: bool = True
) -> tuple[AxisWeights, ...]:
    """Return the weights of each axis for a box of the target's voxels.

    Parameters
    ----------
    source, target : Grid
        Grids in the same world and unit.
    box : Box
        Voxels of `target`; may extend beyond it.
    antialias : bool
        Widen the kernel for larger target voxels; otherwise interpolate at their centres.

    Returns
    -------
    tuple of AxisWeights
        Along z, y, x.
    """
    weights = []
    for axis in range(3):
        index = np.arange(box.start[axis], box.stop[axis], dtype=np.float64)
        world = target.origin[axis] + index * target.spacing[axis]
        positions = (world - source.origin[axis]) / source.spacing[axis]
        factor = target.spacing[axis] / source.spacing[axis] if antialias else 1.0
        weights.append(axis_weights(positions, source.shape[axis], factor))
    return tuple(weights)


def apply_weights(block: NDArray[Any], weights: tuple[AxisWeights, ...]) -> Floats:
    """Return `block` ([band,] z, y, x) resampled along its last axes, as float32.

    `block` holds exactly the source voxels that the weights refer to.
    """
    values = np.asarray(block, dtype=np.float32)
    for axis, along in enumerate(weights, start=values.ndim - 3):
        if not along.is_identity:
            values = np.moveaxis(np.tensordot(along.matrix, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values, dtype=np.float32)


def source_slabs(
    source: Grid, target: Grid, box: Box, *, antialias: bool = True
) -> Iterator[tuple[Box, tuple[AxisWeights, ...]]]:
    """Yield what a box of `target` is made of, slab by slab along z, of about `SLAB_VOXELS`.

    Parameters
    ----------
    source, target, box, antialias
        As for `resample_box`.

    Yields
    ------
    needed : Box
        Voxels of `source`; those of two slabs overlap where a kernel does.
    weights : tuple of AxisWeights
        For `apply_weights`, of these voxels.
    """
    wz, wy, wx = box_weights(source, target, box, antialias=antialias)
    plane = wy.matrix.shape[1] * wx.matrix.shape[1]
    step = max(1, int(SLAB_VOXELS / (plane * max(1.0, wz.matrix.shape[1] / len(wz.matrix)))))
    for row in range(0, len(wz.matrix), step):
        rows = wz.matrix[row : row + step]
        used = np.flatnonzero(rows.any(axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
        part = AxisWeights(wz.start + first, np.ascontiguousarray(rows[:, first:last]))
        needed = Box((part.start, wy.start, wx.start), (part.stop, wy.stop, wx.stop))
        yield needed, (part, wy, wx)


def resample_box(
    read: ReadBox, source: Grid, target: Grid, box: Box, *, antialias: bool = True
) -> Floats:
    """Return a box of `target`, sampled from voxels of `source`.

    Parameters
    ----------
    read : callable
        Returns the voxels ([band,] z, y, x) of a box of `source`.
    source, target : Grid
        Grids in the same world and unit.
    box : Box
        Voxels of `target`; beyond the source they take the border's value.
    antialias : bool
        Average over target voxels that are larger than the source's; otherwise interpolate at
        their centres, so that a peak at a centre keeps its height.

    Returns
    -------
    ndarray
        ([band,] z, y, x) float32, of the shape of `box`. Read in slabs along z of about
        `SLAB_VOXELS`.
    """
    slabs = [
        apply_weights(read(needed), weights)
        for needed, weights in source_slabs(source, target, box, antialias=antialias)
    ]
    return slabs[0] if len(slabs) == 1 else np.concatenate(slabs, axis=-3)


def reflected_indices(start: int, stop: int, count: int) -> NDArray[np.int64]:
    """Return in-range indices for start..stop, mirrored at the first and last voxel.

    The edge voxel is not repeated; short axes are mirrored repeatedly.

    Parameters
    ----------
    start, stop : int
        Half-open range that may extend beyond 0..count.
    count : int
        Number of voxels along the axis.
    """
    index = np.arange(start, stop)
    if count == 1:
        return np.zeros_like(index)
    folded = np.mod(index, 2 * (count - 1))
    mirrored: NDArray[np.int64] = np.minimum(folded, 2 * (count - 1) - folded)
    return mirrored


def read_reflected(read: ReadBox, grid: Grid, box: Box) -> NDArray[Any]:
    """Return the voxels of a box that may extend beyond the grid, mirrored at its border.

    Parameters
    ----------
    read : callable
        Returns the voxels (..., z, y, x) of a box inside the grid.
    grid : Grid
        Grid that `read` covers.
    box : Box
        Voxels to read.
    """
    if box.intersection(grid.box) == box:
        return read(box)
    indices = [
        reflected_indices(a, b, n) for a, b, n in zip(box.start, box.stop, grid.shape, strict=True)
    ]
    lowest = [int(i.min()) for i in indices]
    highest = [int(i.max()) + 1 for i in indices]
    values = read(Box((lowest[0], lowest[1], lowest[2]), (highest[0], highest[1], highest[2])))
    for axis, (index, low) in enumerate(zip(indices, lowest, strict=True)):
        values = np.take(values, index - low, axis=values.ndim - 3 + axis)
    return values


def read_reflected_array(values: NDArray[Any], box: Box) -> NDArray[Any]:
    """Return a box of an array in memory, ([band,] z, y, x), mirrored beyond its border."""
    mirrored = values
    for axis, (start, stop) in enumerate(zip(box.start, box.stop, strict=True), start=-3):
        count = values.shape[axis]
        if 0 <= start <= stop <= count:
            part: tuple[Any, ...] = (..., slice(start, stop), *[slice(None)] * (-1 - axis))
            mirrored = mirrored[part]
        else:
            mirrored = np.take(mirrored, reflected_indices(start, stop, count), axis=axis)
    # always a copy
    return np.array(mirrored) if np.may_share_memory(mirrored, values) else mirrored
