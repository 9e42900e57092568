"""Arrays of half precision as Zarr arrays of float32, for viewers that know no float16.

Only what is asked for is converted: the metadata of the array, or one chunk. The array that a
viewer sees has the chunks of the stored one, but no shards, since its chunks are no files.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from parafovea.errors import StoreError
from parafovea.storage.chunk_files import read_chunks

_METADATA = "zarr.json"

#: First part of the keys of chunks.
_CHUNKS = "c"


@dataclass(frozen=True, slots=True)
class Request:
    """A file that is asked for.

    Parameters
    ----------
    array : Path
        Folder that may be that of an array.
    chunk : tuple of int or None
        Index of a chunk; None for the metadata.
    """

    array: Path
    chunk: tuple[int, ...] | None = None


def request_of(place: Path) -> Request | None:
    """Return the request of a path, None if it can be neither metadata nor a chunk."""
    if place.name == _METADATA:
        return Request(place.parent)
    numbers = list(itertools.takewhile(str.isdecimal, reversed(place.parts)))
    array = place.parents[len(numbers)] if len(numbers) < len(place.parents) else place
    if not numbers or place.parts[-len(numbers) - 1] != _CHUNKS:
        return None
    return Request(array, tuple(int(number) for number in reversed(numbers)))


class WideFloats:
    """Arrays of half precision below a folder, as float32."""

    def __init__(self) -> None:
        self._open = functools.lru_cache(maxsize=64)(_open)

    def content(self, folder: Path, request: Request) -> bytes | None:
        """Return metadata or a chunk as bytes, None for what is no array of half precision.

        Parameters
        ----------
        folder : Path
            The folder of the request with all links followed.
        request : Request
            What is asked for.

        Raises
        ------
        LookupError
            If the array has no such chunk.
        StoreError
            If the chunk is damaged.
        """
        try:
            metadata = (folder / _METADATA).read_bytes()
            array = self._open(folder, metadata)
        except (OSError, ValueError):
            return None
        if array is None:
            return None
        if request.chunk is None:
            return _wide_metadata(json.loads(metadata), array.chunks)
        return _wide_chunk(array, request.chunk)


def _open(folder: Path, metadata: bytes) -> zarr.Array[Any] | None:
    facts = json.loads(metadata)
    if facts.get("node_type") != "array" or facts.get("data_type") != "float16":
        return None
    return zarr.open_array(folder, mode="r")


def _wide_metadata(facts: dict[str, Any], chunks: tuple[int, ...]) -> bytes:
    grid = {"name": "regular", "configuration": {"chunk_shape": [int(n) for n in chunks]}}
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
    changed = {**facts, "data_type": "float32", "fill_value": 0.0, "chunk_grid": grid}
    return json.dumps({**changed, "codecs": codecs, "storage_transformers": []}).encode()


def _wide_chunk(array: zarr.Array[Any], index: tuple[int, ...]) -> bytes:
    counts = [math.ceil(n / k) for n, k in zip(array.shape, array.chunks, strict=True)]
    if len(index) != array.ndim or any(i >= n for i, n in zip(index, counts, strict=True)):
        raise LookupError(index)
    part = [
        slice(i * k, min(n, (i + 1) * k))
        for i, k, n in zip(index, array.chunks, array.shape, strict=True)
    ]
    values = read_chunks(array, part, refused=StoreError)
    whole = np.zeros(array.chunks, "<f4")
    whole[tuple(slice(n) for n in values.shape)] = values
    return whole.tobytes()
