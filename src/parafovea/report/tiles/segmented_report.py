"""Report of segmented tiles: classes and their agreement with the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.report.canvas import Drawing, short
from parafovea.report.sample_results import Metric
from parafovea.report.tiles.class_pictures import (
    Array,
    draw_confusion,
    draw_segmented,
    input_picture,
    painted,
)
from parafovea.report.tiles.folder_view import TileView, view_results
from parafovea.report.tiles.map import draw_map
from parafovea.report.tiles.tile_table import Column, ComparedLine
from parafovea.report.units import number_text
from parafovea.settings.report import TileReportSettings
from parafovea.storage.class_colours import class_colours
from parafovea.storage.layout import SampleResults

#: Maximum number of classes with a column for IoU.
_MOST_CLASSES = 6


class SegmentedReport:
    """Report of segmented tiles; see `TileReport`."""

    figures: ClassVar[tuple[str, ...]] = ("tiles.png", "confusion.png", "map.png")
    verb: ClassVar[str] = "segmented"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.columns = (
            Column("pixels", "pixels", 0),
            Column("mean IoU", "iou", 3),
            *(Column(short(name, 14), f"iou.{name}", 3) for name in classes[:_MOST_CLASSES]),
        )

    def error(self, scores: pd.DataFrame) -> pd.Series[float]:
        """Return the negative IoU."""
        return -scores["iou"]

    def outcome(self, metrics: Mapping[str, Metric]) -> str:
        """Return "; mean IoU 0.81", or "" without truth."""
        overlap = metrics["iou"].value if "iou" in metrics else None
        return "" if overlap is None else f"; mean IoU {number_text(overlap)}"

    def compared(self, metrics: Mapping[str, Metric]) -> tuple[ComparedLine, ...]:
        """Return no comparisons: classes cannot be compared with the input."""
        return ()

    def picture(self, entry: TileEntry, files: TileFiles) -> Array:
        """Return the classes of a tile in their colours."""
        return painted(files.read_classes(entry), class_colours(len(self.classes)))

    def pair(self, entry: TileEntry, files: TileFiles) -> tuple[Array, Array]:
        """Return a tile, and its classes in their colours."""
        return input_picture(files.read_input(entry), files), self.picture(entry, files)

    def draw(
        self,
        entries: Sequence[TileEntry],
        worst: Sequence[TileEntry],
        scores: pd.DataFrame,
        folder: Path,
        *,
        quality: Mapping[str, Any],
        files: TileFiles,
        settings: TileReportSettings,
    ) -> tuple[Drawing, ...]:
        """Draw the worst tiles, the confusion matrix and the map; see `TileReport`."""
        tiles, confusion, places = (folder / name for name in self.figures)
        return (
            draw_segmented(worst, scores, tiles, classes=self.classes, files=files),
            draw_confusion(quality.get("confusion"), confusion, classes=self.classes),
            draw_map(entries, scores["iou"], places, label="IoU", higher_is_worse=False),
        )


def cohort_view(results: SampleResults, *, sample: str, task: str) -> TileView:
    """Gather the content of the cohort report for segmented tiles; see `view_results`."""
    return view_results(results, SegmentedReport, sample=sample, task=task)
