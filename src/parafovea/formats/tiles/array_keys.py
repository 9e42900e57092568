"""Which array of an NPZ file is meant, where nobody says it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence

from parafovea.formats.tiles.damage import readable_tile
from parafovea.formats.tiles.folders import NPZ_SUFFIX
from parafovea.formats.tiles.listing import TileFile
from parafovea.formats.tiles.options import TileOptions


def chosen_key(file: TileFile, keys: Sequence[str], options: TileOptions) -> str:
    """Return the array of a tile to read: the user's, else the first of `keys` that is there.

    Parameters
    ----------
    file : TileFile
        NPZ or GeoTIFF; the latter has no keys.
    keys : sequence of str
        At least one; the first where none is there, so that reading says what is.
    options : TileOptions
        What the user says.

    Raises
    ------
    TileError
        If the file is no NPZ archive.
    """
    if options.key is not None:
        return options.key
    if file.path.suffix.lower() != NPZ_SUFFIX:
        return keys[0]
    with readable_tile(file.path, zipfile.BadZipFile), zipfile.ZipFile(file.path) as archive:
        there = set(archive.namelist())
    return next((key for key in keys if f"{key}.npy" in there), keys[0])
