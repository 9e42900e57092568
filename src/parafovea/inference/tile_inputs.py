"""Tiles as a model takes them: read, known by their content, with what lies around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import TileError
from parafovea.formats.metadata import TileOptions
from parafovea.formats.tiles.npz import INPUT_KEYS, chosen_key
from parafovea.formats.tiles.reading import read_tile, tile_digest, tile_place
from parafovea.formats.tiles.results import Maker, is_finished
from parafovea.formats.tiles.tile import Tile
from parafovea.formats.tiles.tile_folder import TileFile
from parafovea.inference.prefetch import Kept
from parafovea.inference.tile_neighbours import Place, Surroundings
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
        None where it is no good.
    reason : str
        Why it is not.
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
    options : TileOptions
        What the user says of the numbers in the files.
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
        options: TileOptions,
        margin: int,
        maker: Maker,
        results: Path,
        overwrite: bool,
    ) -> None:
        self._spec = spec
        self._options = options
        self._maker = maker
        self._results = results
        self._overwrite = overwrite
        self._files = {file.name: file for file in files}
        self._kept = Kept(KEPT)
        self._digest = lru_cache(None)(self._read_digest)
        self._places = self._found_places() if margin else {}
        self._around = Surroundings(self._places, self._values, margin=margin)

    def __call__(self, file: TileFile) -> TileInput:
        """Return a tile with all that its prediction takes; what is wrong with it is its reason."""
        try:
            tile = self._tile(file)
        except TileError as error:
            return TileInput(file, reason=str(error))
        neighbours = self._around.neighbours(file.name)
        digests = [tile.sha256, *map(self._digest, neighbours)]
        fingerprint = self._maker.fingerprint(digests)
        finished = not self._overwrite and is_finished(self._results, file.name, fingerprint)
        canvas = None
        if neighbours and not finished:
            canvas = self._around.canvas(file.name, tile.values)
        return TileInput(file, tile, "", fingerprint, finished, canvas, neighbours)

    def _tile(self, file: TileFile) -> Tile:
        tile = read_tile(file, bands=self._spec.bands, key=self._key(file), options=self._options)
        self._check_pixels(tile)
        if file.name in self._places:
            self._kept.put(file.name, tile.values)
        return tile

    def _key(self, file: TileFile) -> str:
        return chosen_key(file, INPUT_KEYS, self._options)

    def _check_pixels(self, tile: Tile) -> None:
        """Raise `TileError` where pixels are not those that the model was trained on."""
        position, (_, y, _) = tile.position, self._spec.spacing
        # Degrees say nothing without a latitude: tiles of such a system are taken as they are.
        metric = position is not None and position.pixel_size > 0.1
        if position is not None and metric and abs(position.pixel_size - y) > 0.01 * y:
            raise TileError(
                f"{tile.path} has pixels of {position.pixel_size:g} m, but the model "
                f"{self._spec.name} takes {y:g} m: resample the tile, or use a model of its pixels"
            )

    def _found_places(self) -> dict[str, Place]:
        """Return where tiles are; what is wrong with one comes up when it is read."""
        found: dict[str, Place] = {}
        for file in self._files.values():
            try:
                place = tile_place(file, self._key(file))
            except TileError:
                continue
            if place is not None:
                found[file.name] = Place(*place)
        return found

    def _values(self, name: str) -> NDArray[np.float32] | None:
        """Return the pixels of a neighbour, None where it is no good."""
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        try:
            return self._tile(self._files[name]).values
        except TileError:
            return None

    def _read_digest(self, name: str) -> str:
        try:
            return tile_digest(self._files[name])
        except TileError:
            return ""
