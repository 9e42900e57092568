"""How each kind of tiles is scored: a tile after the other, then all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from parafovea.errors import StoreError, TileError
from parafovea.quality import metrics
from parafovea.quality.metrics import Value
from parafovea.quality.overlap import confusion_matrix, overlap_metrics
from parafovea.quality.tile_files import (
    read_class_truth,
    read_classes,
    read_input,
    read_optical_truth,
    read_refined,
)
from parafovea.quality.tile_metrics import TileKind, folder_paths, tile_paths
from parafovea.quality.tile_scores import TileTally, score_tile
from parafovea.quality.tile_tables import TileEntry

#: In a tile of classes: nobody knows. Such pixels do not count.
UNKNOWN = 255


@dataclass(frozen=True, slots=True)
class TileRow:
    """What is known of one tile.

    Parameters
    ----------
    values : mapping of path to float or None
        Its metrics, by the paths of `tile_paths`.
    judged : bool
        Whether there is truth.
    pixels : int
        Pixels that counted.
    """

    values: Mapping[metrics.Path, float | None]
    judged: bool
    pixels: int


class TileScorer(Protocol):
    """Scores tiles one by one, and keeps what all of them together need."""

    def score(self, entry: TileEntry) -> TileRow:
        """Read a tile and score it."""

    def totals(self, counts: Mapping[metrics.Path, Value]) -> dict[metrics.Path, Value]:
        """Return the metrics of all tiles, by the paths of `folder_paths`."""

    def details(self) -> dict[str, Any]:
        """Return what else `quality.json` should say of all tiles."""


def scorer_of(kind: TileKind, truth: Path | None, *, classes: Sequence[str] = ()) -> TileScorer:
    """Return the scorer of a kind of tiles.

    Parameters
    ----------
    kind : str
        Of the task.
    truth : Path or None
        Folder of the truth.
    classes : sequence of str
        All class names of a segmentation, the background first.
    """
    return _Segmented(truth, classes) if kind == "segmentation" else _Refined(truth)


class _Refined:
    def __init__(self, truth: Path | None) -> None:
        self._truth = truth
        self._tally = TileTally()

    def score(self, entry: TileEntry) -> TileRow:
        kind, source = read_input(entry)
        refined = read_refined(entry)
        truth = None if self._truth is None else read_optical_truth(self._truth, entry)
        # a radar image has no colours to keep, but its gaps are gaps
        valid = np.asarray(np.isfinite(source).all(axis=0))
        score = score_tile(refined, source if kind == "optical" else None, truth, valid)
        self._tally.add(score)
        return TileRow(score.values, truth is not None, score.pixels)

    def totals(self, counts: Mapping[metrics.Path, Value]) -> dict[metrics.Path, Value]:
        return self._tally.values(counts)

    def details(self) -> dict[str, Any]:
        return {}


class _Segmented:
    def __init__(self, truth: Path | None, classes: Sequence[str]) -> None:
        self._truth, self._classes = truth, tuple(classes)
        self._confusion = np.zeros((len(classes), len(classes)), np.int64)

    def score(self, entry: TileEntry) -> TileRow:
        found = read_classes(entry)
        truth = None if self._truth is None else read_class_truth(self._truth, entry)
        if (wrong := self._beyond(found)) is not None:
            raise StoreError(f"{entry.output} holds class {wrong}: run predict_tiles again")
        values: dict[metrics.Path, float | None] = dict.fromkeys(
            tile_paths("segmentation", self._classes)
        )
        if truth is None:
            return TileRow(values, False, int((found != UNKNOWN).sum()))
        if (wrong := self._beyond(truth)) is not None:
            raise TileError(
                f"the truth of tile {entry.name!r} holds class {wrong}, but the classes are 0 to "
                f"{len(self._classes) - 1} ({', '.join(self._classes)}), and {UNKNOWN} where "
                "nobody knows: map its values to these"
            )
        known = (truth != UNKNOWN) & (found != UNKNOWN)
        confusion = confusion_matrix(truth[known], found[known], len(self._classes))
        self._confusion += confusion
        overlap = overlap_metrics(confusion, self._classes)
        values = {path: overlap[path] for path in values}
        return TileRow(values, True, int(known.sum()))

    def totals(self, counts: Mapping[metrics.Path, Value]) -> dict[metrics.Path, Value]:
        paths = folder_paths("segmentation", self._classes)
        values: dict[metrics.Path, Value] = dict.fromkeys(paths)
        if self._confusion.any():
            values |= overlap_metrics(self._confusion, self._classes)
        return values | {("pixels",): int(self._confusion.sum())} | dict(counts)

    def details(self) -> dict[str, Any]:
        # rows are true, columns found
        return {"confusion": self._confusion.tolist()}

    def _beyond(self, labels: np.ndarray[Any, Any]) -> int | None:
        """Return a label that is no class, if there is one."""
        wrong = labels[(labels != UNKNOWN) & ((labels < 0) | (labels >= len(self._classes)))]
        return int(wrong[0]) if wrong.size else None
