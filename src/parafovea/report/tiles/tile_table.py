"""Tables of the report of tiles: the worst tiles, and comparisons of metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.tiles.targets import Target


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table of tiles.

    Parameters
    ----------
    heading : str
        Heading, with line breaks.
    name : str
        Name of the column of `tile_quality.tsv`.
    digits : int
        Number of decimals.
    target : Target or None
        Target value.
    """

    heading: str
    name: str
    digits: int
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a tile, and whether it misses its target."""

    text: str
    missed: bool = False


@dataclass(frozen=True, slots=True)
class TileLine:
    """A tile as a row of the report."""

    name: str
    size: str
    month: str
    biome: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ComparedLine:
    """A metric as a row of the report: result compared with input and truth.

    Parameters
    ----------
    name, target : str
        Texts; the target is empty if there is none.
    kept, before, after : str
        Result against input, input against truth, result against truth.
    kept_share, after_share : str
        Percentage of tiles that meet the target.
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
    """Return the tiles sorted by decreasing error.

    Parameters
    ----------
    entries : sequence of TileEntry
        All finished tiles.
    scores : DataFrame
        Rows of `tile_quality.tsv`, by name.
    errors : Series
        Error of each tile by name; NaN if undefined. Tiles without truth come after those with
        truth, and tiles without a value last, in their own order.
    """
    judged = scores["truth"] == "true"

    def rank(entry: TileEntry) -> tuple[bool, bool, float]:
        error = float(errors[entry.name])
        unknown = math.isnan(error)
        return unknown, not judged[entry.name], 0.0 if unknown else -error

    return sorted(entries, key=rank)


def filled_columns(columns: Sequence[Column], scores: pd.DataFrame) -> tuple[Column, ...]:
    """Return the columns with a value in any tile."""
    return tuple(column for column in columns if scores[column.name].notna().any())


def tile_line(entry: TileEntry, scores: pd.DataFrame, columns: Sequence[Column]) -> TileLine:
    """Return a tile as a row, with a cell for each column."""
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
    return Cell(f"{value:z,.{column.digits}f}", missed)
