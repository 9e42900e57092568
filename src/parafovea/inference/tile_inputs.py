"""Model input from tiles: reading, content hashes, and surroundings."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import TileError
from parafovea.formats.ground import position_sides
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.tiles.npz import INPUT_KEYS
from parafovea.formats.tiles.reading import OpenedTile, StoredSidecar
from parafovea.formats.tiles.results import Maker, is_finished
from parafovea.formats.tiles.tile import Tile, readable_tile
from parafovea.formats.tiles.tile_folder import TileFile
from parafovea.geometry.grid import METRES
from parafovea.inference.prefetch import LruCache
from parafovea.inference.tile_neighbours import Place, TileNeighbours
from parafovea.settings.recipe import ModelSpec

#: Note on a tile whose coordinate system PROJ does not know, such as one of a building site.
UNKNOWN_CRS = (
    "its coordinate system is not known, and its unit is assumed to be the metre: write, for "
    "example, EPSG:32633"
)

#: Size in bytes of the cache of tiles for their neighbours.
KEPT = 2**26


@dataclass(frozen=True)
class TileInput:
    """A tile that was read, or the reason why it is not predicted.

    Parameters
    ----------
    file : TileFile
        Files of the tile.
    tile : Tile or None
        None if it is invalid.
    reason : str
        Reason why it is invalid.
    fingerprint : str
        Hash of everything that its result depends on.
    finished : bool
        Whether this result already exists.
    canvas : ndarray or None
        (band, y + 2 margin, x + 2 margin) float32, the tile with its neighbours, if it has any and
        is not finished.
    neighbours : tuple of str
        Names of the neighbouring tiles used.
    """

    file: TileFile
    tile: Tile | None = None
    reason: str = ""
    fingerprint: str = ""
    finished: bool = False
    canvas: NDArray[np.float32] | None = None
    neighbours: tuple[str, ...] = ()


class TileReader:
    """Reads the tiles of a folder; thread-safe.

    Parameters
    ----------
    files : sequence of TileFile
        All tiles of the folder, any of which may be a neighbour of another.
    spec : ModelSpec
        The model, which determines bands and pixel size.
    metadata : SourceMetadata
        User metadata: conversion of the numbers in the files, month and biome of all tiles.
    margin : int
        Pixels around a tile that affect its result; 0 for none.
    maker : Maker
        Model and settings that produce the results.
    results : Path
        Folder of the results.
    overwrite : bool
        Whether existing results are ignored.
    """

    def __init__(
        self,
        files: Sequence[TileFile],
        *,
        spec: ModelSpec,
        metadata: SourceMetadata,
        margin: int,
        maker: Maker,
        results: Path,
        overwrite: bool,
    ) -> None:
        self._spec = spec
        metadata = metadata.for_input(spec.ranges)
        self._options = metadata.tiles
        self._given: dict[str, Any] = {"month": metadata.month, "biome": metadata.biome}
        # results made with other metadata are not finished; by default, tiles are read as stated
        said = {
            **metadata.tiles.model_dump(exclude_none=True, exclude_defaults=True),
            **{name: value for name, value in self._given.items() if value is not None},
        }
        self._said = [json.dumps(said, sort_keys=True)] if said else []
        self._maker = maker
        self._results = results
        self._overwrite = overwrite
        self._files = {file.name: file for file in files}
        self._kept: LruCache[_Looked] = LruCache(KEPT)
        # of tiles that were read, and of sidecars that were read for their positions
        self._digests: dict[str, str] = {}
        self._sidecars: dict[str, StoredSidecar] = {}
        self._places = self._found_places() if margin else {}
        self._reading = {name: threading.Lock() for name in self._places}
        self._around = TileNeighbours(self._places, self._values, margin=margin)

    def __call__(self, file: TileFile) -> TileInput:
        """Return a tile with its prediction input, or the reason why it is invalid."""
        looked = self._looked(file.name)
        tile = looked.tile
        if tile is None:
            return TileInput(file, reason=looked.reason)
        neighbours = self._around.neighbours(file.name)
        digests = [tile.sha256, *map(self._digest, neighbours), *self._said]
        fingerprint = self._maker.fingerprint(digests)
        finished = not self._overwrite and is_finished(self._results, file.name, fingerprint)
        canvas = None
        if neighbours and not finished:
            canvas = self._around.canvas(file.name, tile.values)
        return TileInput(file, tile, "", fingerprint, finished, canvas, neighbours)

    def _looked(self, name: str) -> _Looked:
        """Return a tile; neighbours of others are cached, and read by one thread at a time."""
        if name not in self._places:
            return self._read(name)
        with self._reading[name]:
            found = self._kept.get(name)
            if found is None:
                found = self._read(name)
                self._digests[name] = found.digest
                held = 0 if found.tile is None else found.tile.values.nbytes
                self._kept.put(name, found, held)
            return found

    def _read(self, name: str) -> _Looked:
        """Read a tile, opening its files once."""
        file, digest = self._files[name], ""
        try:
            with OpenedTile(file, self._sidecars.get(name), **self._given) as opened:
                digest = opened.digest()
                key = opened.key(INPUT_KEYS, self._options)
                tile = opened.read(bands=self._spec.bands, key=key, options=self._options)
            with readable_tile(file.path):
                if not self._check_pixels(tile):
                    tile = replace(tile, notes=(*tile.notes, UNKNOWN_CRS))
        except TileError as error:
            return _Looked(digest, None, str(error))
        return _Looked(digest, tile)

    def _check_pixels(self, tile: Tile) -> bool:
        """Raise `TileError` if the pixel size is not that of the model.

        Returns
        -------
        bool
            Whether the unit of its coordinate system is known, if it states one.
        """
        if tile.position is None:
            return True
        side = tile.position.pixel_size
        sides = position_sides(tile.position, *tile.values.shape[1:])
        known = sides is not None
        sides = sides or (side, side)
        wanted = [spacing * METRES[self._spec.unit] for spacing in self._spec.spacing[1:]]
        if all(abs(own - other) <= 0.01 * other for own, other in zip(sides, wanted, strict=True)):
            return known
        (height, width), shown = sides, f"{side:g}"
        if abs(height - width) > 0.01 * width or abs(height / side - 1) > 0.01:
            shown = f"{height:.4g} x {width:.4g}"
        raise TileError(
            f"{tile.path} has pixels of {shown} m, but the model {self._spec.name} takes "
            f"{wanted[0]:g} m: resample the tile, for example with gdalwarp -t_srs and -tr, or use "
            "a model for its pixel size"
        )

    def _found_places(self) -> dict[str, Place]:
        """Return positions of tiles; errors are reported when the tile itself is read."""
        found: dict[str, Place] = {}
        for file in self._files.values():
            try:
                with OpenedTile(file, **self._given) as opened:
                    self._sidecars[file.name] = opened.stored_sidecar
                    place = opened.place(opened.key(INPUT_KEYS, self._options))
            except TileError:
                continue
            if place is not None:
                found[file.name] = Place(*place)
        return found

    def _values(self, name: str) -> NDArray[np.float32] | None:
        """Return the pixels of a neighbour, or None if it is invalid."""
        tile = self._looked(name).tile
        return None if tile is None else tile.values

    def _digest(self, name: str) -> str:
        """Return the digest of a neighbour, even if no longer cached; "" if it has none."""
        if name not in self._digests:
            self._looked(name)
        return self._digests[name]


@dataclass(frozen=True, slots=True)
class _Looked:
    """A tile after reading.

    Parameters
    ----------
    digest : str
        Digest of its files; "" if they cannot be read.
    tile : Tile or None
        None if it is invalid.
    reason : str
        Reason why it is invalid.
    """

    digest: str
    tile: Tile | None
    reason: str = ""
