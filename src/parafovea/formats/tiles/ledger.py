"""The ledger of a folder of tiles: a row for each, whether it became a result or not."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from parafovea.formats.tiles.tile import Tile
from parafovea.storage.store import replacing

COLUMNS = (
    "name",
    "status",
    "reason",
    "height",
    "width",
    "month",
    "biome",
    "assumed",
    "crs",
    "x",
    "y",
    "pixel_size",
    "input",
    "output",
    "input_sha256",
    "fingerprint",
    "clipped",
)

Row = Mapping[str, Any]


def finished_row(tile: Tile, folder: Path, *, fingerprint: str) -> Row:
    """Return the row of a tile whose result is there.

    Parameters
    ----------
    tile : Tile
        The input.
    folder : Path
        Of the results.
    fingerprint : str
        Of what made the result.
    """
    at = tile.position
    place = {} if at is None else {"crs": at.crs, "x": at.x, "y": at.y, "pixel_size": at.pixel_size}
    return {
        "name": tile.name,
        "status": "finished",
        "height": tile.values.shape[1],
        "width": tile.values.shape[2],
        "month": tile.month,
        "biome": tile.biome,
        "assumed": "+".join(tile.assumed),
        **place,
        "input": str(tile.path),
        "output": str(folder / f"{tile.name}.npz"),
        "input_sha256": tile.sha256,
        "fingerprint": fingerprint,
        "clipped": tile.clipped,
    }


def quarantined_row(name: str, path: Path, reason: str) -> Row:
    """Return the row of an invalid tile: its name, its file, and the reason."""
    return {
        "name": name,
        "status": "quarantined",
        "reason": " ".join(reason.split()),
        "input": str(path),
    }


def write_ledger(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a table, in the order of their names, whole or not at all."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: str(row["name"])))
