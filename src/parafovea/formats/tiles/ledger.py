"""The ledger and quarantine tables of a folder of tiles, written and read only by this module.

`predict_tiles` writes a ledger for each shard of a folder, with a row for every tile.
`collect_tiles` joins them to `tiles.tsv`, a row for each result, and `quarantine.tsv`, a row for
each invalid tile. `export_mosaic` writes the same two tables for the blocks of a mosaic.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea.errors import StoreError
from parafovea.formats.tiles.tile import Position, Tile
from parafovea.formats.tiles.tile_folder import printable

#: Columns that every `tiles.tsv` has.
LEDGER_COLUMNS = (
    *("name", "height", "width", "month", "biome", "assumed"),
    *("crs", "x", "y", "pixel_size", "input", "output", "input_sha256"),
)
#: Further columns if the tiles are files, and if they are blocks of one image. `clipped` and
#: `measured` count values, of which a pixel has one for each band; `notes` are separated by
#: `NOTES_JOINT`.
FILE_COLUMNS = ("fingerprint", "clipped", "measured", "notes")
BLOCK_COLUMNS = ("row", "column", "clipped", "measured")

#: Separator of the notes of a tile.
NOTES_JOINT = " | "

#: Columns of the ledger of a shard.
SHARE_COLUMNS = ("name", "status", "reason", *LEDGER_COLUMNS[1:], *FILE_COLUMNS)

QUARANTINE_COLUMNS = ("name", "file", "reason")

#: Columns needed to find, measure and draw a tile.
_READ = tuple(name for name in LEDGER_COLUMNS if name != "input_sha256")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TileEntry:
    """A finished tile: a row of `tiles.tsv`.

    Parameters
    ----------
    name : str
        Without file ending.
    height, width : int
        In pixels.
    month, biome : str
        As passed to the network.
    assumed : frozenset of str
        Which of month and biome are defaults because the tile's metadata lack them.
    position : Position or None
        None if it is unknown.
    source, output : Path
        Paths of the input and the result.
    corner : tuple of int or None
        Row and column of the first pixel if the tile is a block of a large image; None for a
        separate file.
    clipped, measured : int
        Number of input values that the scale puts outside [0, 1], and of all measured values; 0
        if the table lacks these columns.
    source_sha256 : str
        Hash of the input that the result was made from, "" if the table lacks it.
    """

    name: str
    height: int
    width: int
    month: str
    biome: str
    assumed: frozenset[str]
    position: Position | None
    source: Path
    output: Path
    corner: tuple[int, int] | None = None
    clipped: int = 0
    measured: int = 0
    source_sha256: str = ""

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the tile in the large image."""
        row, column = self.corner or (0, 0)
        return slice(row, row + self.height), slice(column, column + self.width)


@dataclass(frozen=True, slots=True)
class QuarantinedTile:
    """An invalid tile: a row of `quarantine.tsv`."""

    name: str
    file: str
    reason: str


def finished_row(tile: Tile, folder: Path, *, fingerprint: str) -> Row:
    """Return the ledger row of a tile with a result.

    Parameters
    ----------
    tile : Tile
        The input tile.
    folder : Path
        Folder of the results.
    fingerprint : str
        Hash of everything that determines the result.
    """
    return {
        "name": tile.name,
        "status": "finished",
        "height": tile.values.shape[1],
        "width": tile.values.shape[2],
        "month": tile.month,
        "biome": tile.biome,
        "assumed": "+".join(tile.assumed),
        **position_cells(tile.position),
        "input": str(tile.path),
        "output": str(folder / f"{tile.name}.npz"),
        "input_sha256": tile.sha256,
        "fingerprint": fingerprint,
        "clipped": tile.clipped,
        "measured": tile.measured * len(tile.values),
        "notes": NOTES_JOINT.join(tile.notes),
    }


def position_cells(position: Position | None) -> Row:
    """Return the columns of a position; empty if it is unknown."""
    if position is None:
        return {}
    return {
        "crs": position.crs,
        "x": position.x,
        "y": position.y,
        "pixel_size": position.pixel_size,
    }


def quarantined_row(name: str, path: Path, reason: str) -> Row:
    """Return the ledger row of an invalid tile, with its name, file and reason."""
    return {
        "name": name,
        "status": "quarantined",
        "reason": " ".join(reason.split()),
        "input": printable(str(path)),
    }


def write_share(path: Path, rows: Iterable[Row]) -> None:
    """Write the ledger of a shard, sorted by name, atomically."""
    _write(path, SHARE_COLUMNS, sorted(rows, key=_name))


def write_ledger(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write `tiles.tsv` atomically; cells without a column are omitted.

    Parameters
    ----------
    path : Path
        Table to write.
    rows : iterable of mapping
        In the order of the table.
    columns : sequence of str
        Columns after `LEDGER_COLUMNS`: `FILE_COLUMNS` or `BLOCK_COLUMNS`.
    """
    _write(path, (*LEDGER_COLUMNS, *columns), rows)


def write_quarantine(path: Path, rows: Iterable[Row]) -> None:
    """Write `quarantine.tsv` from the rows of invalid tiles, atomically."""
    _write(path, QUARANTINE_COLUMNS, ({**row, "file": row["input"]} for row in rows))


def read_shares(paths: Iterable[Path]) -> list[dict[str, str]]:
    """Return the rows of the ledgers of all shards, sorted by name.

    Raises
    ------
    StoreError
        If one is missing or damaged.
    """
    rows = [row for path in paths for row in _rows(path, SHARE_COLUMNS)]
    return sorted(rows, key=_name)


def results_are_there(path: Path) -> bool:
    """Return whether all tiles that the ledger of a shard calls finished are files, unread."""
    rows = _rows(path, SHARE_COLUMNS)
    outputs = [row["output"] for row in rows if row["output"]]
    return all(Path(o).is_file() and Path(o).with_suffix(".json").is_file() for o in outputs)


def read_ledger(path: Path) -> tuple[TileEntry, ...]:
    """Return the rows of `tiles.tsv`.

    Raises
    ------
    StoreError
        If it is missing or damaged, or a tile name is not a plain file name.
    """
    return tuple(_entry(path, row) for row in _rows(path, _READ))


def read_quarantine(path: Path) -> tuple[QuarantinedTile, ...]:
    """Return the rows of `quarantine.tsv`.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    rows = _rows(path, QUARANTINE_COLUMNS)
    return tuple(QuarantinedTile(*(row[name] for name in QUARANTINE_COLUMNS)) for row in rows)


def _name(row: Row) -> str:
    return str(row["name"])


def _write(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    # loads zarr, which planning does not need
    from parafovea.storage.store import replacing

    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(
            stream, columns, delimiter="\t", lineterminator="\n", extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(rows)


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
            f"{path} is missing or not a table ({error}): run predict_tiles again"
        ) from error


def _entry(path: Path, row: dict[str, str]) -> TileEntry:
    name = row["name"]
    if not name or name in (".", "..") or any(mark in name for mark in "/\\\0"):
        raise StoreError(
            f"{path} names a tile {name!r}, which is not a plain file name: delete it and run "
            "predict_tiles again"
        )
    place = [row[key] for key in ("x", "y", "pixel_size")]
    try:
        position = Position(row["crs"], *map(float, place)) if all(place) else None
        height, width = int(row["height"]), int(row["width"])
        at = [row.get(key, "") for key in ("row", "column")]
        counts = [int(row.get(key) or 0) for key in ("clipped", "measured")]
        corner = (int(at[0]), int(at[1])) if all(at) else None
    except ValueError as error:
        raise StoreError(
            f"{path} has an invalid number for tile {name!r} ({error}): delete it and run "
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
        clipped=counts[0],
        measured=counts[1],
        source_sha256=row.get("input_sha256", ""),
    )
