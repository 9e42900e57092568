"""Reading of parts of a Zarr array, with errors that name the file of a damaged chunk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import zarr

from parafovea.errors import ParafoveaError


def read_chunks(
    array: zarr.Array[Any],
    index: Sequence[slice | int],
    *,
    refused: type[ParafoveaError],
    advice: str = "copy or write it again",
) -> np.ndarray[Any, Any]:
    """Return a part of an array.

    Parameters
    ----------
    array : zarr.Array
        An array on disk.
    index : sequence of slice or int
        One per axis; slices of step 1.
    refused : type
        The error for a damaged chunk.
    advice : str
        What to do about it.

    Raises
    ------
    ParafoveaError
        Of the given type, with the file of the first chunk within the part that is damaged.
    """
    try:
        return np.asarray(array[tuple(index)])
    except (MemoryError, ParafoveaError):
        raise
    except Exception:
        # the libraries do not say which chunk it was
        if not isinstance(array, zarr.Array):
            raise
        for key, part in _chunks(array, index):
            try:
                array[part]
            except MemoryError:
                raise
            except Exception as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                file = f"{str(array.store_path).removeprefix('file://').rstrip('/')}/{key}"
                raise refused(f"{file} is damaged ({reason[:200]}): {advice}") from error
        raise


def _chunks(
    array: zarr.Array[Any], index: Sequence[slice | int]
) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Yield the key of each chunk, or shard, of a part, and the piece of the part within it."""
    pieces = [int(n) for n in array.shards or array.chunks]
    bounds = [
        (part, part + 1) if isinstance(part, int) else part.indices(length)[:2]
        for part, length in zip(index, array.shape, strict=True)
    ]
    ranges = [
        range(start // n, -(-stop // n)) for (start, stop), n in zip(bounds, pieces, strict=True)
    ]
    for place in itertools.product(*ranges):
        part = tuple(
            slice(max(start, k * n), min(stop, (k + 1) * n))
            for k, n, (start, stop) in zip(place, pieces, bounds, strict=True)
        )
        yield array.metadata.encode_chunk_key(place), part
