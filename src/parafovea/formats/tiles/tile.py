"""What a tile is: a small image of a few bands, with what is known of it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError, TileError
from parafovea.formats.metadata import TileOptions
from parafovea.formats.source import readable

#: Month and biome of a tile that does not state them: June, and the code for an unknown biome.
DEFAULT_MONTH = 6
DEFAULT_BIOME = 0

#: Pixels along a side of a tile.
SMALLEST, LARGEST = 16, 8192

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
        Which of "month" and "biome" the tile does not state, so that defaults were taken.
    position : Position or None
        Where it lies, if it states so.
    metadata : mapping
        Everything in the sidecar but `month` and `biome_code`, as it stands there.
    path : Path
        Of the file with the values.
    sha256 : str
        Of the content of its files, as `parafovea.formats.tiles.reading.tile_digest` takes it.
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

    @property
    def measured(self) -> int:
        """Number of pixels that were measured."""
        return math.prod(self.values.shape[1:]) if self.valid is None else int(self.valid.sum())


@dataclass(frozen=True, slots=True, eq=False)
class StoredTile:
    """The numbers of a tile, as its file has them.

    Parameters
    ----------
    numbers : ndarray
        (band, y, x), of the file's type.
    valid : ndarray or None
        (y, x) bool, false where nothing was measured; None where all pixels were.
    scale, offset : tuple of float or None
        A number each band: reflectance = number * scale + offset.
    position : Position or None
        Where the tile lies, if the file states it.
    nodata_stated : bool
        Whether the file itself states a number that marks missing values.
    """

    numbers: NDArray[Any]
    valid: NDArray[np.bool_] | None
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    position: Position | None = None
    nodata_stated: bool = False


class TileContent(Protocol):
    """The file of a tile, opened once for all that is asked of it; what reads a format has one.

    Every function may raise `TileError`.
    """

    def close(self) -> None:
        """Close the file."""

    def digest(self) -> bytes:
        """Return the SHA-256 of the file's bytes; asked first, it spares opening it again."""

    def key(self, keys: Sequence[str]) -> str:
        """Return the first of some keys whose array is there, else the first of all."""

    def size(self, key: str) -> tuple[int, int]:
        """Return the height and the width that the header states; no value is read."""

    def place(self) -> tuple[Position, int, int] | None:
        """Return the position, height and width that the header states; None without position."""

    def read(self, *, bands: Sequence[str], key: str, options: TileOptions) -> StoredTile:
        """Return the numbers of the bands that are named, in their order."""


def check_tile_size(path: Path, size: tuple[int, ...]) -> None:
    """Raise `TileError` where a height and a width are none of a tile."""
    if min(size) < SMALLEST or max(size) > LARGEST:
        raise TileError(
            f"{path} has {size[0]} x {size[1]} pixels (y, x), and a tile has {SMALLEST} to "
            f"{LARGEST} along each side: cut it otherwise, or give a larger image as a mosaic"
        )


@contextlib.contextmanager
def readable_tile(path: Path, *failures: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong while a tile is read into one `TileError`: other tiles go on.

    Parameters
    ----------
    path : Path
        For the message.
    *failures : type
        Errors of one library beside the built-in ones.
    """
    try:
        with readable(str(path), *failures):
            yield
    except TileError:
        raise
    except SourceError as error:
        raise TileError(str(error)) from error
