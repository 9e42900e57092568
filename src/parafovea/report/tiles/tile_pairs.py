"""Pictures of tiles before and after, one file each, for pages that compare them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from parafovea.formats.tiles.ledger import read_ledger
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.quality.tiles.tile_quality import read_tile_quality
from parafovea.report.tiles.tile_report import TileReport
from parafovea.report.tiles.tile_table import worst_first

#: Longest side of a picture in pixels; larger tiles are reduced.
LONGEST = 768


@dataclass(frozen=True, slots=True)
class TilePair:
    """The pictures of a tile.

    Parameters
    ----------
    name : str
        Name of the tile.
    before, after : str
        Names of PNG files of equal size.
    width, height : int
        Pixels of the tile.
    """

    name: str
    before: str
    after: str
    width: int
    height: int


def write_tile_pairs(
    ledger: Path, quality: Path, folder: Path, *, report: TileReport, files: TileFiles, most: int
) -> list[TilePair]:
    """Write pictures of the tiles with the largest errors, before and after.

    Parameters
    ----------
    ledger, quality : Path
        `tiles.tsv` and `tile_quality.tsv`.
    folder : Path
        An existing folder.
    report : TileReport
        Draws tiles of their kind.
    files : TileFiles
        Reader of the tiles.
    most : int
        Most tiles.

    Returns
    -------
    list of TilePair
        Worst first.

    Raises
    ------
    SourceError
        If a tile can no longer be read.
    StoreError
        If a table or a result is missing or damaged.
    """
    entries, scores = read_ledger(ledger), read_tile_quality(quality)
    found = []
    for number, entry in enumerate(worst_first(entries, scores, report.error(scores))[:most], 1):
        names = (f"before_{number}.png", f"after_{number}.png")
        for name, picture in zip(names, report.pair(entry, files), strict=True):
            _write(picture, folder / name)
        found.append(TilePair(entry.name, *names, entry.width, entry.height))
    return found


def _write(picture: np.ndarray[Any, Any], path: Path) -> None:
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    image.thumbnail((LONGEST, LONGEST))
    image.save(path, format="PNG", optimize=True)
