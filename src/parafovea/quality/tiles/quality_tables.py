"""The tables of a folder of tiles: the ledger of those that are done, and the quarantine."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from parafovea.errors import StoreError

LEDGER_COLUMNS = (
    *("name", "height", "width", "month", "biome", "assumed"),
    *("crs", "x", "y", "pixel_size", "input", "output"),
)
#: Of a ledger whose tiles are blocks of one image.
PLACE_COLUMNS = ("row", "column")

QUARANTINE_COLUMNS = ("name", "file", "reason")

#: Columns of `tile_quality.tsv` that are words.
TEXT_COLUMNS = ("month", "biome", "assumed", "truth")


@dataclass(frozen=True, slots=True)
class TilePosition:
    """Where a tile lies.

    Parameters
    ----------
    crs : str
        Its coordinate system, such as "EPSG:32633".
    x, y : float
        Upper left corner, in the unit of the system.
    pixel_size : float
        In the same unit.
    """

    crs: str
    x: float
    y: float
    pixel_size: float


@dataclass(frozen=True, slots=True)
class TileEntry:
    """A finished tile, a line of `tiles.tsv`.

    Parameters
    ----------
    name : str
        Without an ending.
    height, width : int
        In pixels.
    month, biome : str
        That its network was told.
    assumed : frozenset of str
        Those of month and biome that nobody stated.
    position : TilePosition or None
        None where nobody states one.
    source, output : Path
        The input and the result.
    corner : tuple of int or None
        Row and column of the first pixel where the tile is a block of one large image; None for a
        tile of its own.
    """

    name: str
    height: int
    width: int
    month: str
    biome: str
    assumed: frozenset[str]
    position: TilePosition | None
    source: Path
    output: Path
    corner: tuple[int, int] | None = None

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns in the large image."""
        row, column = self.corner or (0, 0)
        return slice(row, row + self.height), slice(column, column + self.width)


@dataclass(frozen=True, slots=True)
class QuarantinedTile:
    """A tile that was set aside, a line of `quarantine.tsv`."""

    name: str
    file: str
    reason: str


def read_ledger(path: Path) -> tuple[TileEntry, ...]:
    """Return the lines of `tiles.tsv`.

    Raises
    ------
    StoreError
        If it is missing or damaged, or a name is no plain file name.
    """
    return tuple(_entry(path, row) for row in _rows(path, LEDGER_COLUMNS))


def read_quarantine(path: Path) -> tuple[QuarantinedTile, ...]:
    """Return the lines of `quarantine.tsv`.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    rows = _rows(path, QUARANTINE_COLUMNS)
    return tuple(QuarantinedTile(*(row[name] for name in QUARANTINE_COLUMNS)) for row in rows)


def sha256_of(path: Path) -> str:
    """Return the hash of a table's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _entry(path: Path, row: dict[str, str]) -> TileEntry:
    name = row["name"]
    if not name or name in (".", "..") or any(mark in name for mark in "/\\\0"):
        raise StoreError(
            f"{path} names a tile {name!r}, which is no plain file name: delete it and run "
            "predict_tiles again"
        )
    place = [row[key] for key in ("x", "y", "pixel_size")]
    try:
        position = TilePosition(row["crs"], *map(float, place)) if all(place) else None
        height, width = int(row["height"]), int(row["width"])
        at = [row.get(key, "") for key in PLACE_COLUMNS]
        corner = (int(at[0]), int(at[1])) if all(at) else None
    except ValueError as error:
        raise StoreError(
            f"{path} holds a wrong number for tile {name!r} ({error}): delete it and run "
            "predict_tiles again"
        ) from error
    return TileEntry(
        name=name,
        height=height,
        width=width,
        month=row["month"],
        biome=row["biome"],
        assumed=frozenset(filter(None, row["assumed"].split("+"))),
        position=position,
        source=Path(row["input"]),
        output=Path(row["output"]),
        corner=corner,
    )


def _rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", restval="")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise StoreError(
                    f"{path} lacks the column(s) {', '.join(missing)}: delete it and run "
                    "predict_tiles again"
                )
            yield from reader
    except (csv.Error, UnicodeDecodeError, FileNotFoundError) as error:
        raise StoreError(
            f"{path} is missing or no table ({error}): run predict_tiles again"
        ) from error


def read_tile_quality(path: Path) -> pd.DataFrame:
    """Return `tile_quality.tsv`: a row a tile by its name, metrics as numbers, NaN where undefined.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    try:
        # a tile may be called "NA" or "007": no text stands for a missing value or a number
        table = pd.read_csv(path, sep="\t", dtype=str, na_filter=False).set_index("name")
        metrics = [name for name in table.columns if name not in TEXT_COLUMNS]
        for name in metrics:
            table[name] = [float(text) if text else math.nan for text in table[name]]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path} cannot be read as a table ({error}): delete it and run measure_tiles again"
        ) from error
    return table
