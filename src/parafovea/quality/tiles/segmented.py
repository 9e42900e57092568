"""Measures of segmented tiles: overlap of their classes with the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from parafovea.kinds.reference import Reference
from parafovea.quality.metrics import OVERALL, Path
from parafovea.quality.segmentation.segmentation_metrics import overlap_paths
from parafovea.quality.tiles.measures import COUNTS, TileScorer

if TYPE_CHECKING:
    from parafovea.quality.tiles.tile_arrays import TileFiles


class SegmentedTiles:
    """Classes, compared with the true ones; see `TileMeasures`."""

    kind: ClassVar[str] = "segmentation"
    report: ClassVar[Reference] = "parafovea.report.tiles.segmented_report:SegmentedReport"

    def __init__(self, classes: Sequence[str], bands: Sequence[str]) -> None:
        self.outputs: tuple[str, ...] = ()
        self._classes = tuple(classes)

    @property
    def tile_paths(self) -> tuple[Path, ...]:
        """Paths of the metrics of one tile, in the order of `tile_quality.tsv`."""
        return tuple(("iou", part) for part in (OVERALL, *self._classes))

    @property
    def folder_paths(self) -> tuple[Path, ...]:
        """Paths of the metrics of a folder of tiles, in the order of `quality.tsv`."""
        return (*COUNTS, *overlap_paths(self._classes), ("pixels",))

    def scorer(self, files: TileFiles) -> TileScorer:
        """Return a scorer for the tiles that `files` reads."""
        from parafovea.quality.tiles.segmented_scores import SegmentedScorer

        return SegmentedScorer(files, self._classes, self.tile_paths, self.folder_paths)
