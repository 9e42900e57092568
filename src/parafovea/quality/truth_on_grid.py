"""Truth resampled to the grid of a prediction."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.covered_part import covered_part
from parafovea.formats.truth import check_upright
from parafovea.geometry.grid import Box, Grid, shape3

Array = np.ndarray[Any, Any]

logger = logging.getLogger(__name__)

#: Label of unlabelled voxels, as a class and as an object id.
IGNORED = 255
IGNORED_ID = 2**64 - 1

#: Object ids from here on are marks of a program, such as CREMI's 2**64 - 1, and not objects.
_MARKS = 2**63

#: Maximum number of truth voxels in memory if truth is finer than the prediction.
LARGEST_READ = 2**23
#: From this ratio of truth voxels to prediction voxels on, the majority label is taken.
_VOTING = 2.0
#: Significant decimals of a voxel index; the rest are rounding errors of unit conversions.
_DIGITS = 6


class TruthSource(Protocol):
    """Interface of a truth, a subset of `formats.source.Source`."""

    @property
    def path(self) -> str:
        """Path as given by the user."""

    @property
    def grid(self) -> Grid:
        """Grid of the voxels."""

    def read(self, box: Box) -> Array:
        """Return the voxels of a box within the volume: (z, y, x)."""


@dataclass(frozen=True)
class _Axis:
    """Mapping from prediction voxels to truth voxels along an axis.

    With `votes`, voxel i maps to first[i] to first[i + 1] - 1; otherwise only to first[i].
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
    """Labels of a truth volume on the grid of a prediction.

    A voxel gets the label of the truth voxel at its centre. Along axes on which the truth is finer
    by a factor of 2 or more, it gets the most frequent label of the truth voxels with centres
    inside it, and the smallest of equally frequent labels.

    Voxels that nobody has labelled become `IGNORED` or `IGNORED_ID`: those of the value that the
    source states as ignored, of 255 where that is no class, and those around a truth that covers a
    part of the prediction alone.

    Parameters
    ----------
    source : TruthSource
        Labels on their own grid.
    grid : Grid
        Grid of the prediction.
    classes : int, optional
        Number of classes: labels must be in 0..classes-1. By default any non-negative integers.

    Raises
    ------
    SourceError
        If the truth extends beyond the prediction by more than a voxel of the coarser; or covers
        a part of it and does not state where, by an origin of its own.
    """

    def __init__(self, source: TruthSource, grid: Grid, *, classes: int | None = None) -> None:
        self._source = source
        self._classes = classes
        check_upright(source, source.path)
        self._ignored: int | None = getattr(source, "ignored", None)
        self._background: int | None = getattr(source, "background", None)
        there = source.grid.converted(grid.unit)
        self.covered = covered_part(source.path, there, grid)
        self._axes = [_sampling(there, grid, axis) for axis in range(3)]
        self.is_partial = self.covered != grid.box
        if self.is_partial:
            logger.warning(
                "truth %s covers %s of the prediction, %.3g %% of its voxels; the others count "
                "neither way",
                source.path,
                self.covered,
                100 * self.covered.size / grid.box.size,
            )

    def read(self, box: Box) -> Array:
        """Return the labels of a box of the prediction.

        Parameters
        ----------
        box : Box
            Box within the prediction.

        Returns
        -------
        (z, y, x) uint8 or uint64
            Classes, or object ids; `IGNORED` or `IGNORED_ID` where nobody has labelled.

        Raises
        ------
        SourceError
            If the truth holds values that are not labels; the message lists them.
        """
        ids = self._classes is None
        labels = np.empty(box.shape, np.uint64 if ids else np.uint8)
        known = box.intersection(self.covered)
        if known != box:
            labels[...] = IGNORED_ID if ids else IGNORED
        if not known.size:
            return labels
        for tile in known.tiles(self._tile_shape(known)):
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
        if self._background is not None:
            values = np.where(values == self._background, values.dtype.type(0), values)
        wrong = values < 0
        if values.dtype.kind == "f":
            wrong |= values != np.floor(values)
        wrong |= values >= (_MARKS if self._classes is None else self._classes)
        ignored = np.zeros(0, bool)
        if wrong.any() or self._ignored is not None:
            mark = self._ignored
            if mark is None and self._classes is not None and self._classes <= IGNORED:
                mark = IGNORED
            ignored = np.zeros(values.shape, bool) if mark is None else values == mark
            wrong &= ~ignored
        if wrong.any():
            bad = np.unique(values[wrong])
            spelled = str if bad.dtype.kind in "iu" else "{:g}".format
            listed = ", ".join(map(spelled, bad[:10])) + (", …" if len(bad) > 10 else "")
            allowed = (
                "object ids are whole numbers from 0 (no object) to 2**63 - 1"
                if self._classes is None
                else f"the model's classes are 0 to {self._classes - 1}"
            )
            raise SourceError(
                f"truth {self._source.path} holds {listed} in {box}, but {allowed}: "
                "map its values to these, or write in the metadata column of the sample sheet "
                "truth_background= with the value of voxels where nothing is, truth_ignore= with "
                "that of voxels that nobody has labelled"
            )
        if not ignored.any():
            return values.astype(np.uint64 if self._classes is None else np.uint8)
        kind, mark_of_kind = (
            (np.uint64, IGNORED_ID) if self._classes is None else (np.uint8, IGNORED)
        )
        return np.where(ignored, kind(mark_of_kind), np.where(ignored, 0, values).astype(kind))


def _sampling(truth: Grid, grid: Grid, axis: int) -> _Axis:
    count, step = grid.shape[axis], grid.spacing[axis] / truth.spacing[axis]
    begin = (grid.origin[axis] - truth.origin[axis]) / truth.spacing[axis]
    votes = round(step, _DIGITS) >= _VOTING
    # The first truth voxel is the first with its centre above the voxel's lower face.
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
        First index of each cell along z, y and x, increasing from 0; a cell extends to the next
        one's start and has at least one voxel.

    Returns
    -------
    (cells z, cells y, cells x) of the block's dtype
        The smallest of equally frequent labels.
    """
    lowest, highest = block, block
    for axis, first in enumerate(starts):
        lowest = np.minimum.reduceat(lowest, first, axis=axis)
        highest = np.maximum.reduceat(highest, first, axis=axis)
    mixed = lowest != highest
    result = lowest.copy()
    if not mixed.any():
        return result
    # Only cells with several labels, at the objects' surfaces, remain to be counted.
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
