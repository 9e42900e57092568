"""How each kind of tiles is scored: a tile after the other, then all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from parafovea.errors import StoreError, TileError
from parafovea.quality import metrics
from parafovea.quality.metrics import Value
from parafovea.quality.overlap import confusion_matrix, overlap_metrics
from parafovea.quality.tile_files import TileFiles
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


def scorer_of(kind: TileKind, files: TileFiles, *, classes: Sequence[str] = ()) -> TileScorer:
    """Return the scorer of a kind of tiles.

    Parameters
    ----------
    kind : str
        Of the task.
    files : TileFiles
        Reads the tiles.
    classes : sequence of str
        All class names of a segmentation, the background first.
    """
    return _Segmented(files, classes) if kind == "segmentation" else _Refined(files)


class _Refined:
    def __init__(self, files: TileFiles) -> None:
        self._files = files
        self._tally = TileTally()

    def score(self, entry: TileEntry) -> TileRow:
        source = self._files.read_input(entry)
        refined = self._files.read_refined(entry)
        truth = self._files.read_optical_truth(entry)
        # a radar image has no colours to keep, but its gaps are gaps
        valid = np.asarray(np.isfinite(source).all(axis=0))
        score = score_tile(refined, source if self._files.optical else None, truth, valid)
        self._tally.add(score)
        return TileRow(score.values, truth is not None, score.pixels)

    def totals(self, counts: Mapping[metrics.Path, Value]) -> dict[metrics.Path, Value]:
        return self._tally.values(counts)

    def details(self) -> dict[str, Any]:
        return {}


class _Segmented:
    def __init__(self, files: TileFiles, classes: Sequence[str]) -> None:
        self._files, self._classes = files, tuple(classes)
        self._confusion = np.zeros((len(classes), len(classes)), np.int64)

    def score(self, entry: TileEntry) -> TileRow:
        found = self._files.read_classes(entry)
        truth = self._files.read_class_truth(entry)
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
