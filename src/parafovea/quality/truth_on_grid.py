"""Truth on the grid of a prediction, whatever grid the truth came on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from parafovea.errors import SourceError
from parafovea.geometry.grid import AXES, Box, Grid, shape3

Array = np.ndarray[Any, Any]

#: Truth voxels that are held at a time, where truth is finer than the prediction.
LARGEST_READ = 2**25
#: From this many truth voxels to a prediction voxel on, they vote.
_VOTING = 2.0
#: Digits of a voxel index that are meant; the rest is rounding in unit conversions.
_DIGITS = 6


class TruthSource(Protocol):
    """What is needed of a source (`readers.source.Source`)."""

    @property
    def path(self) -> str:
        """As the user gave it."""

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""

    def read(self, box: Box) -> Array:
        """Return the voxels of a box within the volume: (z, y, x)."""


@dataclass(frozen=True)
class _Axis:
    """Which truth voxels each voxel of the prediction takes along one axis.

    `votes`: voxel i takes first[i] up to, not including, the next one's; otherwise only first[i].
    """

    first: Array
    stop: int
    votes: bool

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the truth voxels needed for some voxels of the prediction."""
        begin = int(self.first[start])
        if not self.votes:
            return begin, int(self.first[stop - 1]) + 1
        end = int(self.first[stop]) if stop < len(self.first) else self.stop
        return begin, max(end, int(self.first[stop - 1]) + 1)


class SampledTruth:
    """Labels of a truth volume at the voxels of a prediction.

    A voxel takes the label of the truth voxel at its centre. Along axes on which the truth is
    finer by a factor of 2 or more, it takes the most frequent label of the truth voxels whose
    centres lie in it, the smallest label where several are.

    Parameters
    ----------
    source : TruthSource
        Labels on a grid of their own.
    grid : Grid
        Of the prediction.
    classes : int, optional
        Labels must lie in 0..classes-1; without it they may be any non-negative integers.

    Raises
    ------
    SourceError
        If the two do not cover the same part of the world, to one voxel of the coarser.
    """

    def __init__(self, source: TruthSource, grid: Grid, *, classes: int | None = None) -> None:
        self._source = source
        self._classes = classes
        there = source.grid.converted(grid.unit)
        _check_extent(source.path, there, grid)
        self._axes = [_sampling(there, grid, axis) for axis in range(3)]

    def read(self, box: Box) -> Array:
        """Return the labels of a box of the prediction.

        Parameters
        ----------
        box : Box
            Within the prediction.

        Returns
        -------
        (z, y, x) uint8 or uint64
            Classes, or object ids.

        Raises
        ------
        SourceError
            If the truth holds values that cannot be labels, listing them.
        """
        labels = np.empty(box.shape, np.uint64 if self._classes is None else np.uint8)
        for tile in box.tiles(self._tile_shape(box)):
            labels[tile.relative_to(box.start).slices] = self._read_tile(tile)
        return labels

    def _tile_shape(self, box: Box) -> tuple[int, int, int]:
        shape = list(box.shape)
        for axis in range(3):
            while shape[axis] > 1 and self._needed(Box.sized(box.start, shape)) > LARGEST_READ:
                shape[axis] = -(-shape[axis] // 2)
        return shape3(shape)

    def _needed(self, box: Box) -> int:
        return self._truth_box(box).size

    def _truth_box(self, box: Box) -> Box:
        spans = zip(self._axes, box.start, box.stop, strict=True)
        starts, stops = zip(*(axis.span(a, b) for axis, a, b in spans), strict=True)
        return Box(shape3(starts), shape3(stops))

    def _read_tile(self, tile: Box) -> Array:
        there = self._truth_box(tile)
        block = self._checked(self._source.read(there), there)
        starts = []
        for index, axis in enumerate(self._axes):
            first = axis.first[tile.start[index] : tile.stop[index]] - there.start[index]
            if axis.votes:
                starts.append(first)
            else:
                block = np.take(block, first, axis=index)
                starts.append(np.arange(len(first)))
        return most_frequent(block, starts) if any(a.votes for a in self._axes) else block

    def _checked(self, values: Array, box: Box) -> Array:
        """Return values as labels, or raise `SourceError`."""
        wrong = (values < 0) | (values != np.floor(values))
        if self._classes is not None:
            wrong |= values >= self._classes
        if wrong.any():
            bad = np.unique(values[wrong])
            listed = ", ".join(f"{v:g}" for v in bad[:10]) + (", …" if len(bad) > 10 else "")
            allowed = (
                "object ids are whole numbers from 0 (no object)"
                if self._classes is None
                else f"the model's classes are 0 to {self._classes - 1}"
            )
            raise SourceError(
                f"truth {self._source.path} holds {listed} in {box}, but {allowed}: "
                "map its values to these"
            )
        return values.astype(np.uint64 if self._classes is None else np.uint8)


def _check_extent(path: str, truth: Grid, grid: Grid) -> None:
    faces = []
    for axis in range(3):
        tolerance = max(truth.spacing[axis], grid.spacing[axis]) * (1 + 1e-6)
        low = _low_face(truth, axis) - _low_face(grid, axis)
        high = low + truth.extent[axis] - grid.extent[axis]
        if abs(low) > tolerance or abs(high) > tolerance:
            faces.append(AXES[axis])
    if faces:
        raise SourceError(
            f"truth {path} is of another shape or place than the prediction along "
            f"{', '.join(faces)}: the truth is {truth} from {truth.origin}, the prediction {grid} "
            f"from {grid.origin}: give a truth volume of the same part of the world, or correct "
            "the spacing in the metadata column of the sample sheet"
        )


def _low_face(grid: Grid, axis: int) -> float:
    return grid.origin[axis] - grid.spacing[axis] / 2


def _sampling(truth: Grid, grid: Grid, axis: int) -> _Axis:
    count, step = grid.shape[axis], grid.spacing[axis] / truth.spacing[axis]
    begin = (grid.origin[axis] - truth.origin[axis]) / truth.spacing[axis]
    votes = round(step, _DIGITS) >= _VOTING
    # Voting starts at a voxel's lower face, where the first truth centre is that counts.
    index = begin + np.arange(count) * step - (step / 2 if votes else 0)
    first = np.ceil(index.round(_DIGITS)) if votes else np.floor(index.round(_DIGITS) + 0.5)
    end = np.ceil(round(begin + (count - 0.5) * step, _DIGITS))
    last = truth.shape[axis] - 1
    return _Axis(first.clip(0, last).astype(np.int64), min(int(end), last + 1), votes)


def most_frequent(block: Array, starts: list[Array]) -> Array:
    """Return the most frequent label of each cell of a block.

    Parameters
    ----------
    block : (z, y, x) unsigned integer
        Labels.
    starts : list of three (n,) int64
        First index of each cell along z, y and x, not decreasing, from 0; a cell reaches to the
        next one's start and holds one voxel at least.

    Returns
    -------
    (cells z, cells y, cells x) of the block's dtype
        The smallest label where several are equally frequent.
    """
    lowest, highest = block, block
    for axis, first in enumerate(starts):
        lowest = np.minimum.reduceat(lowest, first, axis=axis)
        highest = np.maximum.reduceat(highest, first, axis=axis)
    mixed = lowest != highest
    result = lowest.copy()
    if not mixed.any():
        return result
    # Only cells of several labels are left to count; they lie at the objects' surfaces.
    owners = [
        np.searchsorted(first, np.arange(n), side="right") - 1
        for first, n in zip(starts, block.shape, strict=True)
    ]
    contested = np.nonzero(mixed[np.ix_(*owners)])
    cells = [owner[where] for owner, where in zip(owners, contested, strict=True)]
    cell = np.ravel_multi_index(cells, mixed.shape)
    votes = block[contested]
    order = np.lexsort((votes, cell))
    cell, votes = cell[order], votes[order]
    new = np.concatenate([[True], (cell[1:] != cell[:-1]) | (votes[1:] != votes[:-1])])
    begins = np.flatnonzero(new)
    counts = np.diff(begins, append=len(cell))
    cell, votes = cell[begins], votes[begins]
    best = np.lexsort((votes, -counts, cell))
    decided, first = np.unique(cell[best], return_index=True)
    result.reshape(-1)[decided] = votes[best][first]
    return result
