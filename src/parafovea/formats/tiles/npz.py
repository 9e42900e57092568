"""Arrays in NPZ files: looked at before they are read, and nothing unpickled."""

from __future__ import annotations

import contextlib
import math
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import TileError
from parafovea.formats.tiles.damage import readable_tile

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Return shape and type that stand at the beginning of an array, and leave the stream behind.

    Parameters
    ----------
    stream : file
        At its beginning.

    Returns
    -------
    tuple or None
        None where the header is of a version that no plain array needs.

    Raises
    ------
    ValueError
        If it is no header.
    """
    read = _READERS.get(np.lib.format.read_magic(stream))
    if read is None:
        return None
    shape, _, dtype = read(stream)
    return shape, dtype


#: Bytes of the largest array that is read: a tile of 8192 x 8192 in eight bands of float32.
LARGEST = 2**31

# The last is how a header that breaks off fails to be parsed.
_FAILURES = (zipfile.BadZipFile, tokenize.TokenError)


def array_header(path: Path, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array in an NPZ file, without reading it.

    Parameters
    ----------
    path : Path
        Of the NPZ file.
    key : str
        Name of the array.

    Raises
    ------
    TileError
        If the file is no NPZ archive or damaged, has no such key, or holds objects under it.
    """
    with _entry(path, key) as (_, shape, dtype):
        return shape, dtype


def read_array(path: Path, key: str) -> NDArray[Any]:
    """Return an array of an NPZ file.

    Parameters
    ----------
    path : Path
        Of the NPZ file.
    key : str
        Name of the array.

    Returns
    -------
    ndarray
        Booleans, integers or floats, in the machine's byte order.

    Raises
    ------
    TileError
        As `array_header`, or if the array is damaged or larger than `LARGEST`.
    """
    with _entry(path, key) as (stream, _, dtype):
        stream.seek(0)
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):  # the end of the entry is also where its checksum is compared
            raise TileError(f"{path}: the array {key} is followed by other bytes: write it again")
    return array.astype(dtype.newbyteorder("="), copy=False)


@contextlib.contextmanager
def _entry(path: Path, key: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """Yield the stream of an array with its header checked, and the shape and type it states."""
    with readable_tile(path, *_FAILURES), zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        info = entries.get(f"{key}.npy")
        if info is None:
            keys = [name.removesuffix(".npy") for name in entries]
            raise TileError(
                f"{path} has no array {key}, but {_listed(keys)}: write it again with this key, "
                "or name another with key= in the metadata column of the sample sheet"
            )
        with archive.open(info) as stream:
            shape, dtype = _header(path, key, stream)
            size = math.prod(shape) * dtype.itemsize
            if size > LARGEST:
                raise TileError(
                    f"{path}: the array {key} states the shape {shape} of {dtype}, which is "
                    f"{size / 2**30:.1f} GiB and no tile: cut it into smaller ones"
                )
            stored = info.file_size - stream.tell()
            if stored != size:
                raise TileError(
                    f"{path}: the array {key} states {size} bytes and has {stored}: write it again"
                )
            yield stream, shape, dtype


def _header(path: Path, key: str, stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    found = read_npy_header(stream)
    if found is None:
        raise TileError(f"{path}: the array {key} is no plain array: write it again as float32")
    shape, dtype = found
    if dtype.hasobject:
        raise TileError(
            f"{path}: the array {key} holds pickled Python objects, which are never loaded: write "
            "it again as float32"
        )
    if dtype.kind not in "buif":
        raise TileError(f"{path}: the array {key} holds {dtype}, not numbers: write float32")
    return shape, dtype


def _listed(keys: list[str]) -> str:
    if not keys:
        return "nothing at all"
    shown = ", ".join(repr(key)[1:-1] for key in keys[:8])
    return shown if len(keys) <= 8 else f"{shown} and {len(keys) - 8} more"
