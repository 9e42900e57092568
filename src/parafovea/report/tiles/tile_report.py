"""Interface of reports of tiles: columns, texts and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.report.canvas import Drawing
from parafovea.report.sample_results import Metric
from parafovea.report.tiles.tile_table import Column, ComparedLine
from parafovea.settings.report import TileReportSettings

Array = np.ndarray[Any, Any]


class TileReport(Protocol):
    """Report of tiles measured in one way; see `TileMeasures.report`.

    Parameters
    ----------
    classes : sequence of str
        Class names of the model, the background first, or its output bands.
    """

    #: Files written by `draw`, in the order of the report.
    figures: ClassVar[tuple[str, ...]]
    #: Verb for finished tiles, as in "5 of 6 tiles refined".
    verb: ClassVar[str]

    def __init__(self, classes: Sequence[str]) -> None: ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes with a colour; empty if the results are not classes."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the table of the worst tiles."""

    def error(self, scores: pd.DataFrame) -> pd.Series[float]:
        """Return the error of each tile from the rows of `tile_quality.tsv` by name."""

    def outcome(self, metrics: Mapping[str, Metric]) -> str:
        """Return the part of the summary after the counts, from `quality.tsv`."""

    def compared(self, metrics: Mapping[str, Metric]) -> tuple[ComparedLine, ...]:
        """Return the rows that compare result, input and truth, if any."""

    def picture(self, entry: TileEntry, files: TileFiles) -> Array:
        """Return the result of a tile as red, green and blue, (y, x, 3) in [0, 1]."""

    def pair(self, entry: TileEntry, files: TileFiles) -> tuple[Array, Array]:
        """Return input and result of a tile as pictures that can be compared."""

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
        """Draw the `figures` to a folder; call within `canvas.styled`.

        Parameters
        ----------
        entries : sequence of TileEntry
            All finished tiles.
        worst : sequence of TileEntry
            Tiles to show, worst first.
        scores : DataFrame
            Rows of `tile_quality.tsv`, by name.
        folder : Path
            Folder to write to.
        quality : mapping
            Content of `quality.json`.
        files : TileFiles
            Reader of the tiles.
        settings : TileReportSettings
            Settings of the figures.
        """
