"""Tables of a page about tiles: the worst ones line by line, and the metrics side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.tiles.refined import Target


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table of tiles.

    Parameters
    ----------
    heading : str
        In lines.
    name : str
        Of the column of `tile_quality.tsv`.
    digits : int
        After the point.
    target : Target or None
        What the number should be.
    """

    heading: str
    name: str
    digits: int
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of a tile, and whether it misses its target."""

    text: str
    missed: bool = False


@dataclass(frozen=True, slots=True)
class TileLine:
    """A tile as a line of a page."""

    name: str
    size: str
    month: str
    biome: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ComparedLine:
    """A metric as a line of a page: what was kept of the input, and how close to the truth it is.

    Parameters
    ----------
    name, target : str
        Words; the target is empty where there is none.
    kept, before, after : str
        Result against input, input against truth, result against truth.
    kept_share, after_share : str
        Tiles that meet the target, in per cent.
    """

    name: str
    target: str
    kept: str
    kept_share: str
    before: str
    after: str
    after_share: str


def worst_first(
    entries: Sequence[TileEntry], scores: pd.DataFrame, errors: pd.Series[float]
) -> list[TileEntry]:
    """Return the tiles, those first that are most wrong.

    Parameters
    ----------
    entries : sequence of TileEntry
        All finished tiles.
    scores : DataFrame
        Rows of `tile_quality.tsv`, by name.
    errors : Series
        How wrong each tile is, by name; NaN where it is undefined. Tiles without truth come after
        those with truth, and tiles without a number last, in their own order.
    """
    judged = scores["truth"] == "true"

    def rank(entry: TileEntry) -> tuple[bool, bool, float]:
        error = float(errors[entry.name])
        unknown = math.isnan(error)
        return unknown, not judged[entry.name], 0.0 if unknown else -error

    return sorted(entries, key=rank)


def filled_columns(columns: Sequence[Column], scores: pd.DataFrame) -> tuple[Column, ...]:
    """Return the columns in which any tile has a number."""
    return tuple(column for column in columns if scores[column.name].notna().any())


def tile_line(entry: TileEntry, scores: pd.DataFrame, columns: Sequence[Column]) -> TileLine:
    """Return a tile as a line, with a cell for each column."""
    numbers: dict[Any, Any] = dict(scores.loc[[entry.name]].iloc[0])
    month, biome = (
        f"{value} (assumed)" if name in entry.assumed else value
        for name, value in (("month", entry.month), ("biome", entry.biome))
    )
    return TileLine(
        entry.name,
        f"{entry.height} × {entry.width}",
        month,
        biome,
        tuple(_cell(float(numbers[column.name]), column) for column in columns),
    )


def _cell(value: float, column: Column) -> Cell:
    if math.isnan(value):
        return Cell("")
    missed = column.target is not None and not column.target.met(value)
    return Cell(f"{value:,.{column.digits}f}", missed)
