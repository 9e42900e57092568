"""Scores of segmented tiles, and their totals from one confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parafovea.errors import StoreError, TileError
from parafovea.formats.tiles.ledger import TileEntry
from parafovea.formats.tiles.npz import UNKNOWN
from parafovea.quality.metrics import Path, Value
from parafovea.quality.segmentation.overlap import confusion_matrix, overlap_metrics
from parafovea.quality.tiles.measures import TileRow
from parafovea.quality.tiles.tile_arrays import TileFiles, read_truth


class SegmentedScorer:
    """Scores segmented tiles; see `TileScorer`.

    Parameters
    ----------
    files : TileFiles
        Reads the tiles.
    classes : sequence of str
        All class names, background first.
    tile_paths, folder_paths : sequence of tuple of str
        Paths of the metrics of a tile and of all tiles.
    """

    def __init__(
        self,
        files: TileFiles,
        classes: Sequence[str],
        tile_paths: Sequence[Path],
        folder_paths: Sequence[Path],
    ) -> None:
        self._files, self._classes = files, tuple(classes)
        self._tile_paths, self._folder_paths = tile_paths, folder_paths
        self._confusion = np.zeros((len(classes), len(classes)), np.int64)

    def score(self, entry: TileEntry) -> TileRow:
        """Read a tile and score it.

        Raises
        ------
        StoreError
            If the result is missing, damaged or contains a label that is not a class.
        """
        found = self._files.read_classes(entry)
        truth, problem = read_truth(self._read_truth, entry)
        if (wrong := self._beyond(found)) is not None:
            raise StoreError(f"{entry.output} holds class {wrong}: run predict_tiles again")
        values: dict[Path, float | None] = dict.fromkeys(self._tile_paths)
        if truth is None:
            return TileRow(values, False, int((found != UNKNOWN).sum()), problem)
        known = (truth != UNKNOWN) & (found != UNKNOWN)
        confusion = confusion_matrix(truth[known], found[known], len(self._classes))
        self._confusion += confusion
        overlap = overlap_metrics(confusion, self._classes)
        return TileRow(
            {path: overlap[path] for path in values}, bool(known.any()), int(known.sum())
        )

    def _read_truth(self, entry: TileEntry) -> np.ndarray[Any, Any] | None:
        truth = self._files.read_class_truth(entry)
        if truth is not None and (wrong := self._beyond(truth)) is not None:
            raise TileError(
                f"the truth of tile {entry.name!r} holds class {wrong}, but the classes are 0 to "
                f"{len(self._classes) - 1} ({', '.join(self._classes)}), and {UNKNOWN} where the "
                "class is unknown: map its values to these"
            )
        return truth

    def totals(self, counts: Mapping[Path, Value]) -> dict[Path, Value]:
        """Return the metrics of all tiles."""
        values: dict[Path, Value] = dict.fromkeys(self._folder_paths)
        if self._confusion.any():
            values |= overlap_metrics(self._confusion, self._classes)
        return values | {("pixels",): int(self._confusion.sum())} | dict(counts)

    def details(self) -> dict[str, Any]:
        """Return the confusion matrix, with true classes as rows and predicted ones as columns."""
        return {"confusion": self._confusion.tolist()}

    def _beyond(self, labels: np.ndarray[Any, Any]) -> int | None:
        """Return a label that is not a class, if there is one."""
        wrong = labels[(labels != UNKNOWN) & ((labels < 0) | (labels >= len(self._classes)))]
        return int(wrong[0]) if wrong.size else None
