"""Files of a Zarr array: errors name the one that is damaged or was lost.

Zarr leaves out files that would hold only the fill value, and reads any file that is not there as
that. An array of this workflow has all its files and says so, so that a lost one is an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from parafovea.errors import ParafoveaError
from parafovea.geometry.grid import Box

#: Attribute of an array that has all its files.
EVERY_FILE = "parafovea_every_file"

#: That of zarrs leaves out files of fill values, whatever it is asked for.
_PYTHON = {"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}


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
        Of the given type, with the file of the first chunk within the part that is damaged; of an
        array that has all its files, with the first that is missing.
    """
    if isinstance(array, zarr.Array) and array.attrs.get(EVERY_FILE) and _is_on_disk(array):
        for key, _ in _chunks(array, index):
            if not (file := _folder(array) / key).is_file():
                raise refused(f"{file} is missing: {advice}")
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
                place = str(array.store_path).removeprefix("file://").rstrip("/")
                raise refused(f"{place}/{key} is damaged ({reason[:200]}): {advice}") from error
        raise


def write_absent_files(array: zarr.Array[Any], box: Box | None = None) -> None:
    """Write the files that were left out because they hold only the fill value.

    Parameters
    ----------
    array : zarr.Array
        ([channel,] z, y, x), on disk; everything else was written. It then says that it has all
        its files.
    box : Box, optional
        The voxels that were written, whole files of them, if others write the rest.
    """
    folder = _folder(array)
    index = [slice(None)] * (array.ndim - 3) + [*(box or Box.whole(array.shape[-3:])).slices]
    array.attrs[EVERY_FILE] = True
    with zarr.config.set(_PYTHON):
        plain = zarr.open_array(folder, mode="r+").with_config({"write_empty_chunks": True})
        for key, part in _chunks(array, index):
            if not (folder / key).is_file():
                plain[part] = array.fill_value


def _is_on_disk(array: zarr.Array[Any]) -> bool:
    """Return whether an array is in a folder: at an address, its store refuses missing files."""
    return isinstance(array.store_path.store, LocalStore)


def _folder(array: zarr.Array[Any]) -> Path:
    return Path(str(array.store_path).removeprefix("file://"))


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
