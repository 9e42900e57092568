"""The header of an array in an NPZ file."""

from __future__ import annotations

from typing import IO, Any

import numpy as np

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
