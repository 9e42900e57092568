"""Tiles as a model takes them: read, known by their content, with what lies around them."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import TileError
from parafovea.formats.ground import position_sides
from parafovea.formats.metadata import SourceMetadata
from parafovea.formats.tiles.npz import INPUT_KEYS
from parafovea.formats.tiles.reading import OpenedTile, StoredSidecar
from parafovea.formats.tiles.results import Maker, is_finished
from parafovea.formats.tiles.tile import Tile
from parafovea.formats.tiles.tile_folder import TileFile
from parafovea.geometry.grid import METRES
from parafovea.inference.prefetch import LruCache
from parafovea.inference.tile_neighbours import Place, TileNeighbours
from parafovea.settings.recipe import ModelSpec

#: Bytes of the tiles that are kept in memory for those beside them.
KEPT = 2**26


@dataclass(frozen=True)
class TileInput:
    """A tile that was read, or why there is nothing to do with it.

    Parameters
    ----------
    file : TileFile
        Its files.
    tile : Tile or None
        None where it is invalid.
    reason : str
        Why it is.
    fingerprint : str
        Of all that its result depends on.
    finished : bool
        Whether that result is there already.
    canvas : ndarray or None
        (band, y + 2 margin, x + 2 margin) float32, the tile amid its neighbours, where it has some
        and is not finished.
    neighbours : tuple of str
        Names of the tiles that are seen around it.
    """

    file: TileFile
    tile: Tile | None = None
    reason: str = ""
    fingerprint: str = ""
    finished: bool = False
    canvas: NDArray[np.float32] | None = None
    neighbours: tuple[str, ...] = ()


class TileReader:
    """Reads tiles of one folder, in any thread.

    Parameters
    ----------
    files : sequence of TileFile
        All tiles of the folder: any of them may lie beside another.
    spec : ModelSpec
        The model; gives bands and pixel size.
    metadata : SourceMetadata
        From the user: how to read the numbers in the files, and the month and biome of all tiles.
    margin : int
        Pixels around a tile that its result depends on; 0 for none.
    maker : Maker
        What makes the results.
    results : Path
        Folder of the results.
    overwrite : bool
        Whether no result counts as finished.
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
        self._options = metadata.tiles
        self._given: dict[str, Any] = {"month": metadata.month, "biome": metadata.biome}
        # results made with other words are not finished; without any, tiles are as they state
        said = {
            **metadata.tiles.model_dump(exclude_none=True),
            **{name: value for name, value in self._given.items() if value is not None},
        }
        self._said = [json.dumps(said, sort_keys=True)] if said else []
        self._maker = maker
        self._results = results
        self._overwrite = overwrite
        self._files = {file.name: file for file in files}
        self._kept: LruCache[_Looked] = LruCache(KEPT)
        # of tiles that were read, and of sidecars that were read for the places
        self._digests: dict[str, str] = {}
        self._sidecars: dict[str, StoredSidecar] = {}
        self._places = self._found_places() if margin else {}
        self._reading = {name: threading.Lock() for name in self._places}
        self._around = TileNeighbours(self._places, self._values, margin=margin)

    def __call__(self, file: TileFile) -> TileInput:
        """Return a tile with all that its prediction takes; what is wrong with it is its reason."""
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
        """Return a tile; one that others see is kept, and read by one thread at a time."""
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
        """Read a tile; its files are opened once for all that is asked of them."""
        file, digest = self._files[name], ""
        try:
            with OpenedTile(file, self._sidecars.get(name), **self._given) as opened:
                digest = opened.digest()
                key = opened.key(INPUT_KEYS, self._options)
                tile = opened.read(bands=self._spec.bands, key=key, options=self._options)
            self._check_pixels(tile)
        except TileError as error:
            return _Looked(digest, None, str(error))
        return _Looked(digest, tile)

    def _check_pixels(self, tile: Tile) -> None:
        """Raise `TileError` where pixels are not those that the model was trained on."""
        if tile.position is None:
            return
        side = tile.position.pixel_size
        sides = position_sides(tile.position, *tile.values.shape[1:])
        if sides is None:  # a system of the user's own; its unit is taken for the metre
            sides = side, side
        wanted = [spacing * METRES[self._spec.unit] for spacing in self._spec.spacing[1:]]
        if all(abs(own - other) <= 0.01 * other for own, other in zip(sides, wanted, strict=True)):
            return
        (height, width), shown = sides, f"{side:g}"
        if abs(height - width) > 0.01 * width or abs(height / side - 1) > 0.01:
            shown = f"{height:.4g} x {width:.4g}"
        raise TileError(
            f"{tile.path} has pixels of {shown} m, but the model {self._spec.name} takes "
            f"{wanted[0]:g} m: resample the tile, for example with gdalwarp -t_srs and -tr, or use "
            "a model of its pixels"
        )

    def _found_places(self) -> dict[str, Place]:
        """Return where tiles are; what is wrong with one comes up when it is read."""
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
        """Return the pixels of a neighbour, None where it is invalid."""
        tile = self._looked(name).tile
        return None if tile is None else tile.values

    def _digest(self, name: str) -> str:
        """Return the digest of a neighbour, which may have been let go; "" where it has none."""
        if name not in self._digests:
            self._looked(name)
        return self._digests[name]


@dataclass(frozen=True, slots=True)
class _Looked:
    """A tile that was looked at.

    Parameters
    ----------
    digest : str
        Of its files; "" where they cannot be read.
    tile : Tile or None
        None where it is invalid.
    reason : str
        Why it is.
    """

    digest: str
    tile: Tile | None
    reason: str = ""
