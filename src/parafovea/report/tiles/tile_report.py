"""What a report of measured tiles has to offer: its columns, its words and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pandas as pd

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.report.canvas import Drawing
from parafovea.report.sample_results import Metric
from parafovea.report.tiles.tile_table import Column, ComparedLine
from parafovea.settings.report import TileReportSettings


class TileReport(Protocol):
    """Draws and describes tiles that were measured in one way; see `TileMeasures.report`.

    Parameters
    ----------
    classes : sequence of str
        All class names of the model, the background first, or the bands that it makes.
    """

    #: Files that `draw` writes, in the order of the page.
    figures: ClassVar[tuple[str, ...]]
    #: What was done to a tile, for "5 of 6 tiles refined".
    verb: ClassVar[str]

    def __init__(self, classes: Sequence[str]) -> None: ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes that have a colour; empty where the results are not classes."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the table of the worst tiles."""

    def error(self, scores: pd.DataFrame) -> pd.Series[float]:
        """Return how wrong each tile is, from the rows of `tile_quality.tsv` by name."""

    def outcome(self, metrics: Mapping[str, Metric]) -> str:
        """Return what the page's first sentence says after the counts, from `quality.tsv`."""

    def compared(self, metrics: Mapping[str, Metric]) -> tuple[ComparedLine, ...]:
        """Return the lines that compare result, input and truth; empty where nothing does."""

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
        """Draw the `figures` into a folder; call it within `canvas.styled`.

        Parameters
        ----------
        entries : sequence of TileEntry
            All finished tiles.
        worst : sequence of TileEntry
            Those to show, the worst first.
        scores : DataFrame
            Rows of `tile_quality.tsv`, by name.
        folder : Path
            Folder to write to.
        quality : mapping
            Content of `quality.json`.
        files : TileFiles
            Reads the tiles.
        settings : TileReportSettings
            How much is drawn.
        """
