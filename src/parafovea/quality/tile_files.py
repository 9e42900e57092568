"""The arrays of a tile as the quality and the report see them: input, result, truth."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from parafovea.errors import MissingSourceError, StoreError, TileError
from parafovea.quality.spectral import BANDS
from parafovea.quality.tile_tables import TileEntry

Array = np.ndarray[Any, Any]

#: Keys of an optical tile; a chained sample's input is another one's result.
OPTICAL_INPUT = ("opt_v1", "opt_v2")
OPTICAL_TRUTH = ("opt_v2", "opt_v1")
RADAR = "sar"
CLASSES = "classes"


def read_input(entry: TileEntry) -> tuple[str, Array]:
    """Return what a tile was made from: "optical" or "radar", and its (band, y, x) values.

    Raises
    ------
    TileError
        If it cannot be read any more, or has another size than the result.
    """
    key, values = _load(entry.source, (*OPTICAL_INPUT, RADAR))
    kind = "radar" if key == RADAR else "optical"
    bands = 2 if kind == "radar" else len(BANDS)
    return kind, _checked(values, entry, entry.source, bands=bands)


def read_refined(entry: TileEntry) -> Array:
    """Return a refined tile, (band, y, x) float in [0, 1].

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    return _result(entry, "opt_v2", bands=len(BANDS))


def read_classes(entry: TileEntry) -> Array:
    """Return a segmented tile, (y, x) class indices.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    return _result(entry, CLASSES, bands=None)


def read_optical_truth(folder: Path, entry: TileEntry) -> Array | None:
    """Return the true reflectances of a tile, (band, y, x); None where there is no such file.

    Raises
    ------
    TileError
        If it cannot be read, or has another size than the tile.
    """
    return _truth(folder, entry, OPTICAL_TRUTH, bands=len(BANDS))


def read_class_truth(folder: Path, entry: TileEntry) -> Array | None:
    """Return the true classes of a tile, (y, x) integers; None where there is no such file.

    Raises
    ------
    TileError
        If it cannot be read, holds no integers, or has another size than the tile.
    """
    values = _truth(folder, entry, (CLASSES,), bands=None)
    if values is not None and values.dtype.kind not in "ui":
        raise TileError(
            f"the true classes of tile {entry.name!r} are {values.dtype}, not integers: write "
            "class indices from 0, and 255 where the class is not known"
        )
    return values


def require_folder(truth: str) -> Path:
    """Return the folder of the truth, or raise `MissingSourceError` where there is none."""
    folder = Path(truth)
    if not folder.is_dir():
        raise MissingSourceError(
            f"the truth {truth} is no folder: give the folder that holds a tile of truth for each "
            "tile, under the same name"
        )
    return folder


def _truth(
    folder: Path, entry: TileEntry, keys: Sequence[str], *, bands: int | None
) -> Array | None:
    path = folder / f"{entry.name}.npz"
    if not path.is_file():
        return None
    _, values = _load(path, keys)
    return _checked(values, entry, path, bands=bands)


def _result(entry: TileEntry, key: str, *, bands: int | None) -> Array:
    try:
        _, values = _load(entry.output, (key,))
        return _checked(values, entry, entry.output, bands=bands)
    except TileError as error:
        raise StoreError(f"{error}; delete it and run predict_tiles again") from error


def _load(path: Path, keys: Sequence[str]) -> tuple[str, Array]:
    """Return the first of some keys that an NPZ file has, and its array; never unpickles."""
    try:
        # numpy leaves a file open that is no whole archive
        with path.open("rb") as file, _opened(file, path) as stored:
            key = next((key for key in keys if key in stored.files), None)
            if key is None:
                raise TileError(
                    f"{path} holds {', '.join(stored.files) or 'nothing'}: one of "
                    f"{', '.join(keys)} is needed"
                )
            return key, np.asarray(stored[key])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, TileError):
            raise
        raise TileError(f"{path} cannot be read as a tile ({error}): replace it") from error


def _opened(file: BinaryIO, path: Path) -> np.lib.npyio.NpzFile:
    stored = np.load(file, allow_pickle=False)
    if not isinstance(stored, np.lib.npyio.NpzFile):
        raise TileError(f"{path} is a bare array: give an NPZ file with named arrays")
    return stored


def _checked(values: Array, entry: TileEntry, path: Path, *, bands: int | None) -> Array:
    size = (entry.height, entry.width)
    wanted = size if bands is None else (bands, *size)
    if values.shape != wanted:
        raise TileError(
            f"{path} is {_shape(values.shape)}, but tile {entry.name!r} is {_shape(wanted)}: give "
            "tiles of the same place, size and bands"
        )
    return values


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a single number"
