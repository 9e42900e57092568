"""A folder of equally sized tiles as a volume with one plane per tile, for training."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError, TileError
from parafovea.formats.ground import SAME_SIDE, position_sides, require_same_images
from parafovea.formats.location import Location
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.source import Request, Slices, Source, bounded
from parafovea.formats.tiles.npz import CLASSES, INPUT_KEYS, TRUTH_KEYS, UNKNOWN, Content
from parafovea.formats.tiles.reading import OpenedTile, read_tile
from parafovea.formats.tiles.tile import Position, readable_tile
from parafovea.formats.tiles.tile_folder import TileFile, list_tiles
from parafovea.geometry.grid import METRES, Grid

__all__ = ["open_volume", "require_same_images"]

#: Number of tiles cached in memory, since training accesses them at random.
KEPT = 256


def open_volume(location: Location, request: Request) -> Source:
    """Open a folder of tiles as a volume whose planes are the tiles, sorted by name.

    Parameters
    ----------
    location : Location
        Folder of tiles, all of the same size.
    request : Request
        The bands to read; without bands, class indices. Its `pixels` are the voxel size of tiles
        that do not state one; along z it has no meaning. `truth` prefers refined bands to those
        of a first stage.

    Returns
    -------
    Source
        ([band,] z, y, x): reflectance, float32, or class indices, uint8. Where nothing was
        measured, the nearest measured pixel is repeated; a truth is NaN there.

    Raises
    ------
    SourceError
        If there are no tiles, or their sizes differ.
    TileError
        If a header cannot be read.
    """
    path, bands, said = location.path, request.bands, request.metadata
    spacing, unit = request.pixels
    files = list_tiles(Path(path))
    options = said.tiles
    keys: tuple[str, ...] = INPUT_KEYS
    if request.truth:  # the array that is named may be the source's alone
        keys = TRUTH_KEYS if options.key is None else (options.key, *TRUTH_KEYS)
        options = options.model_copy(update={"key": None})
    conditioned = bool(bands) and not request.truth
    chosen, sizes, known, sides = [], set(), [], set()
    positions: list[Position | None] = []
    for file in files:
        with OpenedTile(file, month=said.month, biome=said.biome) as tile:
            chosen.append(tile.key(keys if bands else (CLASSES,), options))
            sizes.add(tile.size(chosen[-1]))
            place = tile.place(chosen[-1])
            positions.append(None if place is None else place[0])
            if place is not None:
                sides.add(_side(*place[:3]))
            if conditioned:
                known.append(tile.sidecar)
    if len(sizes) > 1:
        shown = ", ".join(f"{h} x {w}" for h, w in sorted(sizes)[:4])
        raise SourceError(
            f"{path} contains tiles of several sizes ({shown}), but a model trains on tiles of "
            "one size: put each size into its own folder and sample"
        )
    if sides and max(sides) > (1 + SAME_SIDE) * min(sides):
        raise SourceError(
            f"{path} contains tiles of several pixel sizes ({min(sides):g} to {max(sides):g} m), "
            "but a model trains on tiles of one pixel size: resample them, or put each size into "
            "its own sample"
        )
    height, width = sizes.pop()
    side = min(sides) / METRES[unit] if sides else None
    y, x = spacing[1:] if side is None else (side, side)
    conditions = None
    if conditioned:
        conditions = {
            "month": tuple(each.month for each in known),
            "biome": tuple(each.biome for each in known),
        }
    array: _Bands | _Classes
    if bands:
        array = _Bands(files, chosen, (height, width), request, options)
    else:
        array = _Classes(files, chosen, (height, width))
    return Source(
        path=path,
        array=array,
        grid=Grid((len(files), height, width), (spacing[0], y, x), unit=unit),
        bands=tuple(bands),
        conditions=conditions,
        planes=tuple(file.name for file in files),
        positions=tuple(positions),
    )


def _side(position: Position, height: int, width: int) -> float:
    """Return the side of a tile's pixels in metres on the ground, the mean of both sides."""
    sides = position_sides(position, height, width)
    return position.pixel_size if sides is None else (sides[0] * sides[1]) ** 0.5


class _Stack:
    """Common base of the two stacks, which selects the tiles of a slice."""

    def __init__(
        self, files: Sequence[TileFile], keys: Sequence[str], size: tuple[int, int]
    ) -> None:
        self.shape = (len(files), *size)
        self._tiles = list(zip(files, keys, strict=True))
        self._plane = lru_cache(KEPT)(self._read)

    def _read(self, number: int) -> NDArray[Any]:
        raise NotImplementedError

    def __getitem__(self, index: Slices) -> NDArray[Any]:
        """Return the voxels of three slices of step 1, ([band,] z, y, x)."""
        planes, rows, columns = bounded(index, self.shape)
        parts = [self._plane(n)[..., rows, columns] for n in range(planes.start, planes.stop)]
        return np.stack(parts, axis=-3)


class _Bands(_Stack):
    """Reflectance of tiles."""

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        files: Sequence[TileFile],
        keys: Sequence[str],
        size: tuple[int, int],
        request: Request,
        options: TileOptions,
    ) -> None:
        super().__init__(files, keys, size)
        self._request = request
        self._options = options

    def _read(self, number: int) -> NDArray[np.float32]:
        file, key = self._tiles[number]
        asked = self._request
        tile = read_tile(file, bands=asked.bands, key=key, options=self._options, truth=asked.truth)
        if tile.valid is None or not asked.truth:
            return tile.values
        return np.where(tile.valid, tile.values, np.float32(np.nan))


class _Classes(_Stack):
    """Class indices of tiles."""

    dtype = np.dtype(np.uint8)

    def _read(self, number: int) -> NDArray[np.uint8]:
        file, key = self._tiles[number]
        with readable_tile(file.path), contextlib.closing(Content(file.path)) as content:
            shape, dtype = content.header(key)
            if len(shape) != 2 or dtype.kind not in "bui":
                raise TileError(
                    f"{file.path}: the array {key} is {dtype} with the shape {shape}: class "
                    "indices must be whole numbers (y, x)"
                )
            values, mask = content.array(key), content.mask(key)
        if values.size and not 0 <= values.min() <= values.max() <= 255:
            raise TileError(
                f"{file.path}: the array {key} has values from {values.min()} to {values.max()}: "
                "class indices must be between 0 and 255"
            )
        classes: NDArray[np.uint8] = values.astype(np.uint8)
        if mask is not None:
            classes[~mask] = UNKNOWN
        return classes
