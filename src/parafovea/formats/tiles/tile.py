"""What a tile is: a small image of a few bands, with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Month and biome of a tile that does not say them: June, and the code for an unknown biome.
DEFAULT_MONTH = 6
DEFAULT_BIOME = 0

#: Biome codes run from 0 to this one.
LAST_BIOME = 15


@dataclass(frozen=True, slots=True)
class Position:
    """Where a tile lies on the ground.

    Parameters
    ----------
    crs : str
        Coordinate reference system, such as "EPSG:32633".
    x, y : float
        Easting and northing of the upper left corner of the upper left pixel, in the unit of the
        CRS: metres, or degrees for a geographic one.
    pixel_size : float
        Side of a pixel, in the same unit; rows run south, columns east.
    """

    crs: str
    x: float
    y: float
    pixel_size: float


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A tile in memory.

    Parameters
    ----------
    name : str
        Of the tile: its file's name without the ending.
    values : ndarray
        (band, y, x) float32 in [0, 1], finite everywhere.
    valid : ndarray or None
        (y, x) bool, false where nothing was measured; `values` repeat the nearest measured pixel
        there. None where all pixels were measured.
    month : int
        1 to 12.
    biome : int
        0 to 15.
    assumed : tuple of str
        Which of "month" and "biome" the tile does not say, so that defaults were taken.
    position : Position or None
        Where it lies, if it says so.
    metadata : mapping
        Everything in the sidecar but `month` and `biome_code`, as it stands there.
    path : Path
        Of the file with the values.
    sha256 : str
        Of the content of its files, as `readers.tiles.tile_digest` takes it.
    clipped : int
        Values that the file's own scale put outside [0, 1], such as clouds brighter than 1, and
        that were cut to it.
    """

    name: str
    values: NDArray[np.float32]
    valid: NDArray[np.bool_] | None
    month: int
    biome: int
    assumed: tuple[str, ...]
    position: Position | None
    metadata: Mapping[str, Any] = field(repr=False)
    path: Path
    sha256: str
    clipped: int = 0
