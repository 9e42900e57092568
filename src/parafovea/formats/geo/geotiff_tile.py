"""One tile as a GeoTIFF file: its bands are named in it, and it may state where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parafovea.errors import TileError
from parafovea.formats.bands import choose_bands
from parafovea.formats.geo.geotiff import crs_name, numbers, opened, pixel_sides, read_window
from parafovea.formats.metadata import TileOptions
from parafovea.formats.tiles.tile import Position, StoredTile, check_tile_size, readable_tile
from parafovea.formats.tiles.tile_folder import TileFile

#: Pixels whose sides differ by less than this share of them count as square.
SQUARE = 0.01


def read(file: TileFile, *, bands: Sequence[str], key: str, options: TileOptions) -> StoredTile:
    """Return the numbers of a tile, as they are stored, and its position if the file states it.

    Parameters
    ----------
    file : TileFile
        GeoTIFF with bands that have names or that `options.bands` names.
    bands : sequence of str
        Bands to read, in this order.
    key : str
        Not used: a GeoTIFF holds one array.
    options : TileOptions
        The user's description of the numbers.

    Raises
    ------
    TileError
        If the image is invalid.
    """
    path = file.path
    with opened(str(path)) as dataset:
        check_tile_size(path, (dataset.height, dataset.width))
        chosen = choose_bands(
            str(path),
            count=dataset.count,
            wanted=bands,
            given=options.bands,
            descriptions=dataset.descriptions,
            refused=TileError,
        )
        position = None
        if dataset.crs is not None:
            height, width = pixel_sides(dataset)
            _check_square(path, height, width)
            position = _position(dataset, height, width)
        meant = numbers(dataset, options)
        stored, valid = read_window(dataset, chosen, None, nodata=meant.nodata)
    scale, offset = (
        None if all_bands is None else tuple(all_bands[band] for band in chosen)
        for all_bands in (meant.scale, meant.offset)
    )
    return StoredTile(stored, valid, scale=scale, offset=offset, position=position)


def size(file: TileFile, key: str) -> tuple[int, int]:
    """Return the height and the width of an image; `key` is not used."""
    with readable_tile(file.path), opened(str(file.path)) as dataset:
        return int(dataset.height), int(dataset.width)


def place(file: TileFile) -> tuple[Position, int, int] | None:
    """Return the position, height and width of an image, None where it has no coordinates."""
    with readable_tile(file.path), opened(str(file.path)) as dataset:
        if dataset.crs is None:
            return None
        position = _position(dataset, *pixel_sides(dataset))
        return position, int(dataset.height), int(dataset.width)


def _position(dataset: Any, height: float, width: float) -> Position:
    return Position(
        crs=crs_name(dataset.crs),
        x=float(dataset.transform.c),
        y=float(dataset.transform.f),
        pixel_size=(height * width) ** 0.5,
    )


def _check_square(path: Path, height: float, width: float) -> None:
    if abs(height - width) > SQUARE * max(height, width):
        raise TileError(
            f"{path} has pixels of {height:g} x {width:g} (y, x), which are not square: warp it "
            "to square pixels first, for example with gdalwarp -tr"
        )
