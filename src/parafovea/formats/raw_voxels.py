"""Contiguous voxels, after a header or in a separate file, plain or compressed."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from parafovea.errors import MissingSourceError, SourceError
from parafovea.formats.compressed_voxels import CompressedVoxels
from parafovea.formats.mapped_voxels import MappedVoxels
from parafovea.formats.neighbours import inside
from parafovea.formats.source import StoredArray
from parafovea.formats.unpacking import LARGEST_HEADER, check_deflated


def stored_voxels(
    path: str, data: str, offset: int, *, shape: tuple[int, ...], dtype: np.dtype[Any], packed: bool
) -> StoredArray:
    """Return the voxels that a header describes.

    Parameters
    ----------
    path : str
        Path of the header, used in error messages.
    data : str
        Path of the voxel file.
    offset : int
        Bytes before the first voxel or the stream; -1 if plain voxels are at the end of the file.
    shape : tuple of int
        Fastest axis first.
    dtype : dtype
        As stored.
    packed : bool
        Whether the voxels are compressed by gzip or zlib.

    Raises
    ------
    SourceError
        If there are fewer voxels than the header states, as far as the size of the file tells.
    """
    if packed:
        stated = math.prod(shape) * dtype.itemsize
        check_deflated(path, Path(data).stat().st_size - max(0, offset), stated)
        return CompressedVoxels(data, max(0, offset), shape=shape, dtype=dtype)
    needed = math.prod(shape) * dtype.itemsize
    size = Path(data).stat().st_size
    start = size - needed if offset < 0 else offset
    if start < 0 or size - start < needed:
        raise SourceError(
            f"{path} is truncated: {data} holds {max(0, size - max(start, 0))} of {needed} bytes "
            "of voxels: copy or write it again"
        )
    return MappedVoxels(data, start, shape=shape, dtype=dtype, order="F")


#: Field that names the voxel file in either format; neither name occurs in the other format.
_FIELDS = ("data file", "datafile", "elementdatafile")


def data_file(path: str) -> str | None:
    """Return the voxel file that a header names, or None if the voxels are in the same file.

    Parameters
    ----------
    path : str
        A NRRD or MetaImage file.

    Raises
    ------
    SourceError
        If the header names several files or files outside of its folder, or cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(LARGEST_HEADER)
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error}): correct its permissions") from error
    for line in head.splitlines():
        field, mark, value = line.replace(b"=", b":", 1).partition(b":")
        if not line.strip():
            break
        if mark and field.strip().lower().decode("ascii", "replace") in _FIELDS:
            return _beside(path, value.strip().decode("utf-8", "replace"))
    return None


def files(path: str) -> tuple[str, ...]:
    """Return a header and its voxel file, if that is a separate file.

    Parameters
    ----------
    path : str
        A NRRD or MetaImage file.

    Raises
    ------
    MissingSourceError
        If the voxel file does not exist.
    SourceError
        As `data_file`.
    """
    data = data_file(path)
    if data is None:
        return (path,)
    if not Path(data).is_file():
        raise MissingSourceError(
            f"{data}, which holds the voxels of {path}, does not exist: put both into one folder"
        )
    return (path, data)


def _beside(path: str, name: str) -> str | None:
    if name.upper() == "LOCAL":
        return None
    if name.split()[:1] == ["LIST"] or "%" in name:
        raise SourceError(
            f"{path} has its voxels in several files ({name!r}): write it again as one file"
        )
    there = inside(Path(path).parent, name)
    if there is None or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise SourceError(
            f"{path} has its voxels in {name!r}, outside its folder: put both into one folder "
            "and give only the file name in the header"
        )
    return os.fspath(there)
