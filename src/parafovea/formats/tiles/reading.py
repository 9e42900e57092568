"""Reading and validation of a tile: a valid tile, or one `TileError` with the reason.

The module of the file's format reads the values; checks common to all formats are here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import TileError
from parafovea.formats.bands import OPTICAL
from parafovea.formats.ground import difference
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.quantity_bands import conversions
from parafovea.formats.reflectance import (
    ScaleTally,
    fill,
    is_reflectance,
    measured,
    to_reflectance,
)
from parafovea.formats.registry import member_reader
from parafovea.formats.tiles.sidecar import Sidecar, parse_sidecar, sidecar_bytes
from parafovea.formats.tiles.tile import (
    Position,
    StoredTile,
    Tile,
    TileContent,
    readable_tile,
)
from parafovea.formats.tiles.tile_folder import TileFile

#: Sidecar keys that state when and how an earlier stage made the tile.
VOLATILE = {"timestamp", "processing"}

#: Sidecar keys that would change values, but are stated by the file itself or by the sheet.
UNREAD = ("nodata", "no_data", "scale", "scale_factor", "offset", "add_offset")

#: Sidecar keys that state a position in another way than `position`.
UNREAD_PLACES = ("crs", "epsg", "transform", "geotransform", "affine", "bounds", "bbox")

#: Sidecar keys of the processing baseline, in STAC and in products of Sentinel-2.
BASELINES = ("processing_baseline", "s2:processing_baseline", "processing:version", "baseline")

_NOTHING = TileOptions()


class OpenedTile:
    """The files of one tile, each opened once for all accesses; not thread-safe.

    Parameters
    ----------
    file : TileFile
        NPZ or GeoTIFF file, with or without a sidecar.
    sidecar : StoredSidecar, optional
        The sidecar, if already read.
    month, biome : int, optional
        User metadata; override the sidecar.

    Raises
    ------
    TileError
        If the file name cannot be used for a result.
    """

    def __init__(
        self,
        file: TileFile,
        sidecar: StoredSidecar | None = None,
        *,
        month: int | None = None,
        biome: int | None = None,
    ) -> None:
        if file.problem:
            raise TileError(file.problem)
        self.file = file
        self._stored_sidecar = sidecar
        self._given: dict[str, Any] = {"month": month, "biome": biome}
        with readable_tile(file.path):
            self._content: TileContent = member_reader("tiles", file.path).Content(file.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    @property
    def stored_sidecar(self) -> StoredSidecar:
        """The stored sidecar, which can be passed to a later `OpenedTile`."""
        if self._stored_sidecar is None:
            with readable_tile(self.file.sidecar or self.file.path):
                self._stored_sidecar = StoredSidecar.of(self.file.sidecar)
        return self._stored_sidecar

    @property
    def sidecar(self) -> Sidecar:
        """Sidecar with user metadata applied."""
        with readable_tile(self.file.sidecar or self.file.path):
            found = self.stored_sidecar.parsed
        given = {name: value for name, value in self._given.items() if value is not None}
        if not given:
            return found
        assumed = tuple(name for name in found.assumed if name not in given)
        return replace(found, assumed=assumed, **given)

    def key(self, keys: Sequence[str], options: TileOptions = _NOTHING) -> str:
        """Return the array to read: the user's, or else the first of `keys` that exists.

        Parameters
        ----------
        keys : sequence of str
            At least one; the first if none exists, so that reading reports the existing ones.
        options : TileOptions
            User options.

        Raises
        ------
        TileError
            If the file is not an NPZ archive.
        """
        with readable_tile(self.file.path):
            return self._content.key(keys) if options.key is None else options.key

    def digest(self) -> str:
        """Return the SHA-256 of the tile's content; see `tile_digest`."""
        with readable_tile(self.file.path):
            digest = hashlib.sha256(self._content.digest())
            if self.stored_sidecar.digest is not None:
                digest.update(self.stored_sidecar.digest)
        return digest.hexdigest()

    def size(self, key: str = "opt_v1") -> tuple[int, int]:
        """Return the height and width stated in the header; see `tile_size`."""
        with readable_tile(self.file.path):
            return self._content.size(key)

    def place(self, key: str = "opt_v1") -> tuple[Position, int, int, int, str] | None:
        """Return position, height, width, month and date, if the tile states its position.

        Parameters
        ----------
        key : str
            As for `tile_size`.

        Raises
        ------
        TileError
            If the sidecar or the header cannot be read.
        """
        sidecar = self.sidecar
        if sidecar.position is not None:
            return sidecar.position, *self.size(key), sidecar.month, sidecar.date
        with readable_tile(self.file.path):
            found = self._content.place()
        return None if found is None else (*found, sidecar.month, sidecar.date)

    def read(
        self,
        *,
        bands: Sequence[str] = OPTICAL,
        key: str = "opt_v1",
        options: TileOptions = _NOTHING,
        truth: bool = False,
    ) -> Tile:
        """Return the tile and its metadata; see `read_tile`."""
        file = self.file
        digest, sidecar = self.digest(), self.sidecar
        key = options.key or key
        with readable_tile(file.path):
            if truth:
                named = not self._content.names_bands and sidecar.bands is not None
                if named or self._content.names(bands):
                    options = options.model_copy(update={"bands": None})
                stored = _own(lambda chosen: self._read(bands, key, chosen), options)
            else:
                stored = self._read(bands, key, options)
            values, clipped, doubts = _reflectance(file.path, stored, bands, options, sidecar)
            _check_position(file.path, sidecar.position, stored.position)
        position = sidecar.position or stored.position
        return Tile(
            name=file.name,
            values=values,
            valid=stored.valid,
            month=sidecar.month,
            biome=sidecar.biome,
            assumed=sidecar.assumed,
            position=position,
            metadata=sidecar.metadata,
            path=file.path,
            sha256=digest,
            clipped=clipped,
            notes=(
                *stored.notes,
                *doubts,
                *sidecar.doubts,
                *_unread(sidecar, options, position),
            ),
        )

    def _read(self, bands: Sequence[str], key: str, options: TileOptions) -> StoredTile:
        if options.bands is None and not self._content.names_bands:
            options = options.model_copy(update={"bands": self.sidecar.bands})
        return self._content.read(bands=bands, key=key, options=options)


class StoredSidecar:
    """Content of a sidecar, parsed on first access.

    Parameters
    ----------
    path : Path or None
        None if there is no sidecar.
    content : bytes or None
        Content of the file.
    """

    def __init__(self, path: Path | None, content: bytes | None) -> None:
        self._path = path
        self._content = content

    @classmethod
    def of(cls, path: Path | None) -> StoredSidecar:
        """Read a sidecar, or raise `TileError`."""
        return cls(path, None if path is None else sidecar_bytes(path))

    @cached_property
    def parsed(self) -> Sidecar:
        """The parsed sidecar; raises `TileError` if it is invalid."""
        return parse_sidecar(self._content, self._path)

    @cached_property
    def digest(self) -> bytes | None:
        """SHA-256 of its reproducible content; None if there is no sidecar."""
        if self._content is None:
            return None
        return hashlib.sha256(_lasting(self._content)).digest()


def tile_size(file: TileFile, key: str = "opt_v1") -> tuple[int, int]:
    """Return the height and width stated in a tile's header, without reading values.

    Parameters
    ----------
    file : TileFile
        NPZ or GeoTIFF file.
    key : str
        Name of the array of an NPZ file, (band, y, x) or (y, x).

    Returns
    -------
    tuple of int
        Unchecked: `read_tile` refuses invalid tile sizes.

    Raises
    ------
    TileError
        If the header cannot be read, or states an array with other axes.
    """
    with OpenedTile(file) as tile:
        return tile.size(key)


def read_tile(
    file: TileFile,
    *,
    bands: Sequence[str] = OPTICAL,
    key: str = "opt_v1",
    options: TileOptions = _NOTHING,
    truth: bool = False,
) -> Tile:
    """Read a tile and its metadata.

    Parameters
    ----------
    file : TileFile
        NPZ file, or GeoTIFF whose bands are named in the file or by `options.bands`.
    bands : sequence of str
        Bands to read, in reading order; an NPZ file has these bands in this order unless
        `options.bands` states otherwise.
    key : str
        Name of the array of an NPZ file, (band, y, x); overridden by `options.key`.
    options : TileOptions
        User's description of the numbers in the files.
    truth : bool
        Whether this is a truth and the options describe its source: its own names of bands, scale
        and nodata number then take precedence, a truth in reflectance needs no scale, and NaN
        marks unknown pixels.

    Returns
    -------
    Tile
        Finite reflectance in [0, 1].

    Raises
    ------
    TileError
        If the tile is invalid.
    """
    with OpenedTile(file) as tile:
        return tile.read(bands=bands, key=key, options=options, truth=truth)


def tile_digest(file: TileFile) -> str:
    """Return the SHA-256 of a tile's content, from the digests of its file and its sidecar.

    Parameters
    ----------
    file : TileFile
        File names and modification times are not included, nor the sidecar keys that state when
        and how an earlier stage made it (`VOLATILE`): rerunning that stage gives the same digest.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TileError
        If a file cannot be read.
    """
    with OpenedTile(file) as tile:
        return tile.digest()


def _lasting(sidecar: bytes) -> bytes:
    """Return the content of a sidecar without the keys that change between runs."""
    try:
        values = json.loads(sidecar)
    except (ValueError, RecursionError):
        return sidecar
    if not isinstance(values, dict) or not VOLATILE & values.keys():
        return sidecar
    kept = {key: value for key, value in values.items() if key not in VOLATILE}
    return json.dumps(kept, sort_keys=True).encode()


def _unread(sidecar: Sidecar, options: TileOptions, position: Position | None) -> tuple[str, ...]:
    """Return a note if a sidecar states how numbers are stored, which the sheet does."""
    stated = (sidecar.metadata.get(key) for key in BASELINES)
    others = tuple(filter(None, (options.contradicted(each) for each in stated)))
    if others:
        return others[:1]
    places = [key for key in UNREAD_PLACES if key in sidecar.metadata]
    if places and position is None:
        return (
            f"the JSON file states {', '.join(places)}, which is not read: write the position as "
            'its key "position"',
        )
    said = [key for key in UNREAD if key in sidecar.metadata]
    given = options.scale is not None or options.nodata is not None
    if not said or given or "processing" in sidecar.metadata:
        return ()
    return (
        f"the JSON file states {', '.join(said)}, which is not read: write scale=, offset= or "
        "nodata= in the metadata column of the sample sheet",
    )


def _own(read: Callable[[TileOptions], StoredTile], options: TileOptions) -> StoredTile:
    """Read a truth with its own scale and nodata, or else with those of its source."""
    plain = _NOTHING.model_copy(update={"bands": options.bands})
    stated = read(plain)
    chosen = options.stated_by(nodata=stated.nodata_stated, scale=stated.scale is not None)
    if chosen.scale is not None and is_reflectance(stated.numbers, stated.valid):
        chosen = chosen.unscaled()
    chosen = chosen.model_copy(update={"key": None})
    found = stated if chosen == plain else read(chosen)
    if found.numbers.dtype.kind != "f":
        return found
    known = measured(
        found.numbers,
        nodata=((math.nan,),) * len(found.numbers),
        masks=() if found.valid is None else (found.valid,),
    )
    return replace(found, valid=known)


def _check_position(path: Path, stated: Position | None, found: Position | None) -> None:
    """Raise `TileError` if the positions in sidecar and file header contradict each other."""
    if stated is None or found is None:
        return
    differs = difference(stated, found)
    if differs:
        raise TileError(
            f"the JSON file of {path} contradicts the image: it gives {differs}; correct or "
            "remove its position"
        )


def _reflectance(
    path: Path,
    stored: StoredTile,
    bands: Sequence[str],
    options: TileOptions,
    sidecar: Sidecar,
) -> tuple[NDArray[np.float32], int, tuple[str, ...]]:
    """Return reflectance (band, y, x) with gaps filled, the number of clipped values, and notes."""
    if stored.valid is not None and not stored.valid.any():
        raise TileError(f"{path} has no valid pixel, all are nodata: remove it from the folder")
    chosen = conversions(
        str(path),
        bands,
        **options.quantities,
        metadata=sidecar.metadata,
        units=stored.units,
        refused=TileError,
    )
    found = to_reflectance(
        stored.numbers,
        stored.valid,
        str(path),
        scale=stored.scale,
        offset=stored.offset,
        conversions=chosen,
        refused=TileError,
    )
    tally = ScaleTally(str(path), stored.scale, stored.offset, TileError, chosen)
    tally.add(stored.numbers, stored.valid, found)
    tally.check()
    clipped = 0 if found.clipped is None else int(found.clipped.sum())
    return fill(found.values, stored.valid), clipped, tally.notes()
