"""Formats of ITK that state an origin and directions: their axes become z, y, x on a Grid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats.raw_voxels import CompressedVoxels, PlainVoxels
from parafovea.formats.source import StoredArray


def stored_voxels(
    path: str, data: str, offset: int, *, shape: tuple[int, ...], dtype: np.dtype[Any], packed: bool
) -> StoredArray:
    """Return the voxels behind a header.

    Parameters
    ----------
    path : str
        Of the header, for messages.
    data : str
        The file of the voxels.
    offset : int
        Bytes before the first voxel or the stream; -1 where plain voxels end the file.
    shape : tuple of int
        Fastest axis first.
    dtype : dtype
        As stored.
    packed : bool
        Whether they are compressed by gzip or zlib.

    Raises
    ------
    SourceError
        If plain voxels are fewer than the header says.
    """
    if packed:
        return CompressedVoxels(data, max(0, offset), shape=shape, dtype=dtype)
    needed = math.prod(shape) * dtype.itemsize
    size = Path(data).stat().st_size
    start = size - needed if offset < 0 else offset
    if start < 0 or size - start < needed:
        raise SourceError(
            f"{path} is truncated: {data} holds {max(0, size - max(start, 0))} of {needed} bytes "
            "of voxels: copy or write it again"
        )
    return PlainVoxels(data, start, shape=shape, dtype=dtype)


def ras_affine(
    path: str, columns: NDArray[np.float64], origin: NDArray[np.float64], to_ras: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the affine to RAS millimetres of axes that lead elsewhere.

    Parameters
    ----------
    path : str
        For messages.
    columns : ndarray
        (3, 3), the step from voxel to voxel along x, y, z in the file's own world, in millimetres.
    origin : ndarray
        (3,), the centre of the first voxel there.
    to_ras : tuple of int
        1 or -1 for each axis of that world.

    Raises
    ------
    SourceError
        If numbers are not finite.
    """
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = origin
    if not np.isfinite(affine).all():
        raise SourceError(f"{path} states an origin or directions that are not finite: correct it")
    turned: NDArray[np.float64] = np.diag([*to_ras, 1]) @ affine
    return turned
