"""A tile: a small image of a few bands, with its metadata."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import MissingExtraError, ParafoveaError, TileError, describe
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.source import readable

#: Minimum and maximum side of a tile in pixels.
SMALLEST, LARGEST = 16, 8192

#: Biome codes range from 0 to this.
LAST_BIOME = 15


@dataclass(frozen=True, slots=True)
class Position:
    """Position of a tile on the ground.

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
        Name of the tile: its file name without the ending.
    values : ndarray
        (band, y, x) float32 in [0, 1], finite everywhere.
    valid : ndarray or None
        (y, x) bool, false where nothing was measured; there, `values` repeat the nearest measured
        pixel. None if all pixels were measured.
    month : int
        1 to 12.
    biome : int
        0 to 15.
    assumed : tuple of str
        Which of "month" and "biome" are missing and set to defaults.
    position : Position or None
        Position, if stated.
    metadata : mapping
        All sidecar keys besides `month` and `biome_code`, as stored.
    path : Path
        Path of the file with the values.
    sha256 : str
        Hash of its content, as returned by `parafovea.formats.tiles.reading.tile_digest`.
    clipped : int
        Number of values that the file's own scale puts outside [0, 1], such as clouds brighter
        than 1, and that were clipped.
    notes : tuple of str
        What may be wrong with the tile but need not be: phrases without its name, so that those
        of many tiles can be counted.
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
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> int:
        """Number of measured pixels."""
        return math.prod(self.values.shape[1:]) if self.valid is None else int(self.valid.sum())


@dataclass(frozen=True, slots=True, eq=False)
class StoredTile:
    """The numbers of a tile, as stored in its file.

    Parameters
    ----------
    numbers : ndarray
        (band, y, x), in the file's data type.
    valid : ndarray or None
        (y, x) bool, false where nothing was measured; None if all pixels were.
    scale, offset : tuple of float or None
        One number per band: reflectance = number * scale + offset.
    position : Position or None
        Position of the tile, if the file states one.
    nodata_stated : bool
        Whether the file itself states a nodata number.
    notes : tuple of str
        As for `Tile`.
    units : tuple of str or None
        Unit of each band in the file's header; empty for formats that have none.
    """

    numbers: NDArray[Any]
    valid: NDArray[np.bool_] | None
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    position: Position | None = None
    nodata_stated: bool = False
    notes: tuple[str, ...] = ()
    units: tuple[str | None, ...] = ()


class TileContent(Protocol):
    """The file of a tile, opened once for all accesses; implemented by each format.

    All methods may raise `TileError`.

    Attributes
    ----------
    names_bands : bool
        Whether files of this format can name their bands; otherwise, a sidecar can.
    """

    names_bands: ClassVar[bool]

    def close(self) -> None:
        """Close the file."""

    def digest(self) -> bytes:
        """Return the SHA-256 of the file's bytes; called first, it saves reopening the file."""

    def key(self, keys: Sequence[str]) -> str:
        """Return the first key whose array exists, or the first key if none does."""

    def size(self, key: str) -> tuple[int, int]:
        """Return the height and width stated in the header, without reading values."""

    def place(self) -> tuple[Position, int, int] | None:
        """Return position, height and width stated in the header; None without a position."""

    def names(self, bands: Sequence[str]) -> bool:
        """Return whether the header names all of some bands."""

    def read(self, *, bands: Sequence[str], key: str, options: TileOptions) -> StoredTile:
        """Return the numbers of the named bands, in their order."""


def check_tile_size(path: Path, size: tuple[int, ...]) -> None:
    """Raise `TileError` if height and width are not valid for a tile."""
    if min(size) < SMALLEST or max(size) > LARGEST:
        raise TileError(
            f"{path} has {size[0]} x {size[1]} pixels (y, x), but a tile must have {SMALLEST} to "
            f"{LARGEST} along each side: cut it to such a size, or give a larger image as a mosaic"
        )


@contextlib.contextmanager
def readable_tile(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a tile is read into its `TileError`; the others continue.

    Parameters
    ----------
    path : Path
        File of the tile, for the message.

    Raises
    ------
    TileError
        As the `SourceError` of `parafovea.formats.source.readable`. A package that is not
        installed is an error of all tiles, and not of this one.
    """
    try:
        with readable(str(path)):
            yield
    except (TileError, MissingExtraError):
        raise
    except ParafoveaError as error:
        raise TileError(describe(error)) from error
