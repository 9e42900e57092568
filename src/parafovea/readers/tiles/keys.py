"""Which array of an NPZ file is meant, where nobody says it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence

from parafovea.readers.tile_options import TileOptions
from parafovea.readers.tiles.damage import readable_tile
from parafovea.readers.tiles.listing import NPZ_SUFFIX, TileFile

#: Arrays that are taken for the input of a model, the first that is there: a first stage's optical
#: tiles, refined ones, radar.
INPUT_KEYS = ("opt_v1", "opt_v2", "sar")

#: Arrays that are taken for what bands should become.
TRUTH_KEYS = ("opt_v2", "opt_v1")


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
