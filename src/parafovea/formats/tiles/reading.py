"""A tile from its files: whole and as it should be, or one `TileError` that says why not.

The values are read by the module of the file's format; what holds for any format is checked here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import TileError
from parafovea.formats.bands import OPTICAL
from parafovea.formats.metadata import TileOptions
from parafovea.formats.reflectance import fill, to_reflectance
from parafovea.formats.registry import member_reader
from parafovea.formats.tiles.sidecar import read_sidecar
from parafovea.formats.tiles.tile import Position, StoredTile, Tile, readable_tile
from parafovea.formats.tiles.tile_folder import TileFile

#: Keys of a sidecar that say when and how an earlier stage made the tile.
VOLATILE = {"timestamp", "processing"}

_NOTHING = TileOptions()


def tile_size(file: TileFile, key: str = "opt_v1") -> tuple[int, int]:
    """Return the height and the width that a tile's header states; no value is read.

    Parameters
    ----------
    file : TileFile
        NPZ or GeoTIFF.
    key : str
        Name of the array of an NPZ file, (band, y, x) or (y, x).

    Returns
    -------
    tuple of int
        Not checked: `read_tile` refuses sizes that are none of a tile.

    Raises
    ------
    TileError
        If the header cannot be read, or states an array of other axes.
    """
    size: tuple[int, int] = member_reader("tiles", file.path).size(file, key)
    return size


def read_tile(
    file: TileFile,
    *,
    bands: Sequence[str] = OPTICAL,
    key: str = "opt_v1",
    options: TileOptions = _NOTHING,
) -> Tile:
    """Read a tile and what is known of it.

    Parameters
    ----------
    file : TileFile
        NPZ, or GeoTIFF with bands that have names or that `options.bands` names.
    bands : sequence of str
        Bands to read, in this order; an NPZ file has these in this order where `options.bands`
        does not say otherwise.
    key : str
        Name of the array of an NPZ file, (band, y, x); `options.key` wins.
    options : TileOptions
        What the user says of the numbers in the files.

    Returns
    -------
    Tile
        Finite reflectance in [0, 1].

    Raises
    ------
    TileError
        If anything about the tile is not as it should be.
    """
    digest = tile_digest(file)
    sidecar = read_sidecar(file.sidecar)
    with readable_tile(file.path):
        stored: StoredTile = member_reader("tiles", file.path).read(
            file, bands=bands, key=options.key or key, options=options
        )
        values, clipped = _reflectance(file.path, stored)
    return Tile(
        name=file.name,
        values=values,
        valid=stored.valid,
        month=sidecar.month,
        biome=sidecar.biome,
        assumed=sidecar.assumed,
        position=sidecar.position or stored.position,
        metadata=sidecar.metadata,
        path=file.path,
        sha256=digest,
        clipped=clipped,
    )


def tile_digest(file: TileFile) -> str:
    """Return the SHA-256 of a tile's content: of the digests of its file and its sidecar.

    Parameters
    ----------
    file : TileFile
        Names and times of its files do not count, nor what the sidecar says of when and how an
        earlier stage made it (`VOLATILE`): a stage that is run again gives the same tile.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TileError
        If a file cannot be read.
    """
    digest = hashlib.sha256()
    with readable_tile(file.path), file.path.open("rb") as stream:
        digest.update(hashlib.file_digest(stream, "sha256").digest())
    if file.sidecar is not None:
        with readable_tile(file.sidecar):
            digest.update(hashlib.sha256(_lasting(file.sidecar.read_bytes())).digest())
    return digest.hexdigest()


def _lasting(sidecar: bytes) -> bytes:
    """Return the content of a sidecar without what changes from run to run."""
    try:
        values = json.loads(sidecar)
    except (ValueError, RecursionError):
        return sidecar
    if not isinstance(values, dict) or not VOLATILE & values.keys():
        return sidecar
    kept = {key: value for key, value in values.items() if key not in VOLATILE}
    return json.dumps(kept, sort_keys=True).encode()


def tile_place(file: TileFile, key: str = "opt_v1") -> tuple[Position, int, int, int] | None:
    """Return the position, height, width and month of a tile, if it says where it is.

    Parameters
    ----------
    file : TileFile
        NPZ with a sidecar, or GeoTIFF; no value is read.
    key : str
        As for `tile_size`.

    Raises
    ------
    TileError
        If the sidecar or the header cannot be read.
    """
    sidecar = read_sidecar(file.sidecar)
    if sidecar.position is not None:
        return sidecar.position, *tile_size(file, key), sidecar.month
    found: tuple[Position, int, int] | None = member_reader("tiles", file.path).place(file)
    return None if found is None else (*found, sidecar.month)


def _reflectance(path: Path, stored: StoredTile) -> tuple[NDArray[np.float32], int]:
    """Return reflectances (band, y, x), gaps filled, and how many were clipped."""
    if stored.valid is not None and not stored.valid.any():
        raise TileError(f"{path} has no valid pixel, all are nodata: remove it from the folder")
    if not stored.numbers.any():
        raise TileError(f"{path} is 0 in all pixels and bands, which is no measurement: remove it")
    values, clipped = to_reflectance(
        stored.numbers,
        stored.valid,
        str(path),
        scale=stored.scale,
        offset=stored.offset,
        refused=TileError,
    )
    if not values.any():
        raise TileError(
            f"{path} has no reflectance above 0: correct scale=, offset= or baseline= in the "
            "metadata column of the sample sheet"
        )
    return fill(values, stored.valid), clipped
