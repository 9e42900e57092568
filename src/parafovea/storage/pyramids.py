"""Pyramids: the coarser levels of an array, for viewers.

Each level halves the one before, by means of images and by the most frequent label of labels, along
the axes that are finest by then. The files of the first levels lie within those of the array, so
that whoever writes a whole file of the array can write theirs; the others are small and made from
these at the end. Imports no array library, since the workflow plans with the numbers of levels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from parafovea.geometry.grid import Box, Grid, Shape, shape3
from parafovea.storage.blocks import CHUNK, COARSE_SHARD

Array = np.ndarray[Any, Any]

#: How voxels become one voxel of the next level.
Reduction = Literal["mean", "mode"]

#: The last level has at most so many voxels along each axis.
SIDE = 64

#: Levels at most whose shards are those of the array, divided.
DIVIDED_LEVELS = 2

#: An axis is not halved if its spacing is this many times that of the finest one, up to rounding.
_COARSE = 2 * (1 - 1e-6)


def level_strides(grid: Grid, count: int | None = None) -> tuple[Shape, ...]:
    """Return the voxels of the grid per voxel of each level along z, y, x; level 0 is the first.

    An axis is halved while no other axis is half as coarse; one of a single plane never is.

    Parameters
    ----------
    grid : Grid
        Grid of the array.
    count : int, optional
        Number of levels. By default the last one has at most `SIDE` voxels along each axis.
    """
    strides: list[Shape] = [(1, 1, 1)]
    level = grid
    while len(strides) < count if count is not None else max(level.shape) > SIDE:
        along = list(zip(level.spacing, level.shape, strict=True))
        finest = min((s for s, n in along if n > 1), default=0.0)
        halved = [n > 1 and s < _COARSE * finest for s, n in along]
        strides.append(shape3([k << h for k, h in zip(strides[-1], halved, strict=True)]))
        level = grid.coarsened(strides[-1])
    return tuple(strides)


def level_grids(grid: Grid, count: int | None = None) -> tuple[Grid, ...]:
    """Return the grid of each level; voxels at the far faces may lie partly beyond the array."""
    return tuple(grid.coarsened(stride) for stride in level_strides(grid, count))


def voxels_in_levels(grid: Grid) -> int:
    """Return the number of voxels of all levels, for a cube a seventh more than of the first."""
    return sum(level.size for level in level_grids(grid))


@dataclass(frozen=True, slots=True)
class Level:
    """A level above the array itself.

    Parameters
    ----------
    grid : Grid
        Grid of its voxels.
    stride : tuple of int
        Voxels of the array per voxel along z, y, x.
    step : tuple of int
        Voxels of the level before per voxel along z, y, x; 1 or 2.
    chunk, shard : tuple of int
        Chunk and shard along z, y, x.
    divided : bool
        Whether its shards are those of the array, divided by `stride`.
    """

    grid: Grid
    stride: Shape
    step: Shape
    chunk: Shape
    shard: Shape
    divided: bool

    def box(self, box: Box) -> Box:
        """Return the voxels of this level that a box of the array becomes.

        Parameters
        ----------
        box : Box
            A whole shard of the array, for a level with divided shards.
        """
        start, stop = (
            shape3([-(-n // k) for n, k in zip(corner, self.stride, strict=True)])
            for corner in (box.start, box.stop)
        )
        return Box(start, stop)

    def before(self, box: Box, shape: Shape) -> Box:
        """Return the voxels of the level before, of this shape, that become a box of this one."""
        return box.scaled(self.step).intersection(Box.whole(shape))


def levels_of(grid: Grid, shard: Sequence[int]) -> tuple[Level, ...]:
    """Return the levels above an array, the finest first.

    Parameters
    ----------
    grid : Grid
        Grid of the array.
    shard : sequence of int
        Shard of the array along z, y, x: a file.
    """
    strides = level_strides(grid)
    found: list[Level] = []
    divided = True
    for number, (before, stride) in enumerate(itertools.pairwise(strides), start=1):
        coarse = grid.coarsened(stride)
        # an axis of one shard is whole, however long
        divided = (
            divided
            and number <= DIVIDED_LEVELS
            and all(s % k == 0 or s >= n for s, k, n in zip(shard, stride, grid.shape, strict=True))
        )
        own = [-(-s // k) for s, k in zip(shard, stride, strict=True)] if divided else COARSE_SHARD
        chunk = [
            min(n, _divisor(s, most)) for n, s, most in zip(coarse.shape, own, CHUNK, strict=True)
        ]
        step = [k // b for b, k in zip(before, stride, strict=True)]
        found.append(
            Level(coarse, stride, shape3(step), shape3(chunk), shape3(own), divided=divided)
        )
    return tuple(found)


def _divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number that is at most `most`."""
    return next(k for k in range(min(number, most), 0, -1) if number % k == 0)


def reduced(voxels: Array, step: Sequence[int], how: Reduction) -> Array:
    """Return the next level of some voxels.

    Parameters
    ----------
    voxels : ndarray
        ([channel,] z, y, x), number; for "mode" integer. Not finite numbers of which some are NaN
        are missing.
    step : sequence of int
        1 or 2 along z, y, x: voxels that become one. At the far faces it may be fewer.
    how : {"mean", "mode"}
        The mean of the voxels that are not missing, rounded to the nearest for integers; or the
        most frequent label, of equally frequent ones the smallest.

    Returns
    -------
    ndarray
        Of the same type, and half the length along the axes of step 2, rounded up.
    """
    if voxels.ndim > 3:
        # by channel, since the memory of all may be large
        return np.stack([reduced(channel, step, how) for channel in voxels])
    odd = [(0, n % k) for n, k in zip(voxels.shape, step, strict=True)]
    # voxels at the far face count twice, all alike
    padded = np.pad(voxels, odd, mode="edge") if any(after for _, after in odd) else voxels
    return _means(padded, step) if how == "mean" else _modes(padded, step)


def _means(voxels: Array, step: Sequence[int]) -> Array:
    wide = np.float32 if voxels.dtype.itemsize < 4 or voxels.dtype == np.float32 else np.float64
    found: Array = _sums(voxels.astype(wide, copy=False), step) * wide(1 / math.prod(step))
    if voxels.dtype.kind != "f":
        return np.rint(found).astype(voxels.dtype)
    if np.isnan(found).any():
        missing = np.isnan(voxels)
        count = _sums((~missing).astype(wide), step)
        total = _sums(np.where(missing, 0, voxels).astype(wide), step)
        with np.errstate(invalid="ignore"):
            found = total / count
    return found.astype(voxels.dtype)


def _sums(voxels: Array, step: Sequence[int]) -> Array:
    for axis in range(3):
        if step[axis] == 2:
            first = (slice(None),) * axis
            voxels = voxels[(*first, slice(0, None, 2))] + voxels[(*first, slice(1, None, 2))]
    return voxels


def _modes(labels: Array, step: Sequence[int]) -> Array:
    corners = itertools.product(*(range(k) for k in step))
    cells = [
        labels[tuple(slice(a, None, k) for a, k in zip(corner, step, strict=True))]
        for corner in corners
    ]
    found = cells[0].copy()
    mixed = np.zeros(found.shape, bool)
    for cell in cells[1:]:
        mixed |= cell != found
    # most voxels lie within one object
    if mixed.any():
        found[mixed] = _most_frequent([cell[mixed] for cell in cells])
    return found


def _most_frequent(votes: Sequence[Array]) -> Array:
    """Return the most frequent of several labels at each place, of equal ones the smallest."""
    counts = [np.ones(len(votes[0]), np.uint8) for _ in votes]
    for (i, first), (j, second) in itertools.combinations(enumerate(votes), 2):
        same = first == second
        counts[i] += same
        counts[j] += same
    best, most = votes[0].copy(), counts[0]
    for vote, count in zip(votes[1:], counts[1:], strict=True):
        better = (count > most) | ((count == most) & (vote < best))
        np.copyto(best, vote, where=better)
        np.maximum(most, count, out=most)
    return best


class Writable(Protocol):
    """An array on disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    def __getitem__(self, index: Any, /) -> Any:
        """Return a part."""

    def __setitem__(self, index: Any, value: Any, /) -> None:
        """Write a part."""


def write_divided(
    arrays: Sequence[Writable],
    levels: Sequence[Level],
    box: Box,
    how: Reduction,
    voxels: Array | None = None,
) -> None:
    """Write the levels with divided shards below a shard of an array.

    Parameters
    ----------
    arrays : sequence of Writable
        The array and the arrays of its levels, ([channel,] z, y, x).
    levels : sequence of Level
        The levels.
    box : Box
        A whole shard of the array, at its far faces what there is of it.
    how : {"mean", "mode"}
        As for `reduced`.
    voxels : ndarray, optional
        The voxels of the shard, of the type of the array; read if not given.
    """
    divided = [level for level in levels if level.divided]
    if divided and voxels is None:
        voxels = np.asarray(arrays[0][_index(arrays[0], box)])
    for array, level in zip(arrays[1:], divided, strict=False):
        voxels = reduced(np.asarray(voxels), level.step, how)
        array[_index(array, level.box(box))] = voxels


def write_coarse(arrays: Sequence[Writable], levels: Sequence[Level], how: Reduction) -> None:
    """Write the levels whose shards are not divided, each from the one before, box by box.

    Parameters
    ----------
    arrays, levels, how
        As for `write_divided`; the levels with divided shards are complete.
    """
    for before, array, level in zip(arrays, arrays[1:], levels, strict=False):
        for box in level.grid.box.tiles(level.shard) if not level.divided else ():
            below = level.before(box, shape3(before.shape[-3:]))
            voxels = np.asarray(before[_index(before, below)])
            array[_index(array, box)] = reduced(voxels, level.step, how)


def _index(array: Writable, box: Box) -> tuple[slice, ...]:
    return (slice(None), *box.slices) if len(array.shape) > 3 else box.slices


def shard_box(index: Shape, shard: Shape, grid: Grid) -> Box:
    """Return the voxels of a shard by its place among the shards along z, y, x."""
    start = [i * n for i, n in zip(index, shard, strict=True)]
    return Box.sized(start, shard).intersection(grid.box)
