"""Arrays of other chunked formats as Zarr arrays: their blocks, decoded, are its chunks.

So that all that is said and checked of a Zarr array holds for them.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from parafovea.errors import ParafoveaError, SourceError
from parafovea.formats.registry import remote_module
from parafovea.formats.remote.address import Folder, RemoteFolder
from parafovea.formats.unpacking import LARGEST_PIECE, check_size
from parafovea.formats.zarr.missing_chunks import Chunks
from parafovea.formats.zarr.tracked_store import Index, TrackedStore, part_of

Array = np.ndarray[Any, Any]

_METADATA = "zarr.json"


class Blocks(ABC):
    """The blocks of an array of another format.

    Parameters
    ----------
    folder : Path or RemoteFolder
        Where the blocks are.
    shape, block : sequence of int
        Of the array and of a block, in the format's order of axes, the first changing fastest.
    dtype : dtype
        Of an element.
    """

    def __init__(
        self, folder: Folder, shape: Sequence[int], block: Sequence[int], dtype: np.dtype[Any]
    ) -> None:
        self.folder = folder
        self.shape = tuple(shape)
        self.block = tuple(block)
        self.dtype = dtype
        check_size(str(folder), math.prod(block) * dtype.itemsize, f"each block {self.block}")

    @property
    def counts(self) -> Index:
        """Number of blocks along each axis."""
        return tuple(-(-n // k) for n, k in zip(self.shape, self.block, strict=True))

    def covered(self, index: Index) -> Index:
        """Return how much of a block lies within the array along each axis."""
        return tuple(
            min(k, n - i * k) for i, k, n in zip(index, self.block, self.shape, strict=True)
        )

    @abstractmethod
    def name(self, index: Index) -> str:
        """Return the name of the file of a block, for messages and for `read`."""

    @abstractmethod
    def decode(self, data: bytes, index: Index) -> Array:
        """Return the elements of a block, of the shape `covered` or larger.

        Raises
        ------
        ValueError
            If it is damaged.
        """

    async def read(self, index: Index) -> tuple[bytes, str] | None:
        """Return the bytes of a block and their version, None if there is no such block."""
        return await read_file(self.folder / self.name(index))

    def listed(self, fixed: Mapping[int, int]) -> Chunks | None:
        """Return which blocks are there, None where this cannot be known before they are read.

        Parameters
        ----------
        fixed : mapping of int to int
            Index that is read along an axis; blocks elsewhere do not count.
        """
        if isinstance(self.folder, RemoteFolder):
            return None
        read = {axis: at // self.block[axis] for axis, at in fixed.items()}
        there: set[Index] = set()
        smallest, least, strange = None, math.inf, None
        for place, _, names in os.walk(self.folder):
            inner = os.path.relpath(place, self.folder)
            for name in names:
                key = name if inner == "." else f"{inner}/{name}".replace(os.sep, "/")
                index = self.index_of(key)
                if index is None:
                    continue
                if not all(i < n for i, n in zip(index, self.counts, strict=True)):
                    strange = strange or key
                elif all(index[axis] == at for axis, at in read.items()):
                    there.add(index)
                    size = os.stat(os.path.join(place, name)).st_size  # noqa: PTH116, PTH118
                    if size < least:
                        smallest, least = index, size
        total = math.prod(n for axis, n in enumerate(self.counts) if axis not in read)
        return Chunks(total, there, smallest, strange)

    @abstractmethod
    def index_of(self, name: str) -> Index | None:
        """Return the index of the block in a file, None if the file is of no block."""


async def read_file(place: Folder, part: tuple[int, int] | None = None) -> tuple[bytes, str] | None:
    """Return a file or a part of it with its version, None if there is none.

    Raises
    ------
    SourceError
        If it cannot be read, or ends within the part.
    """
    if isinstance(place, RemoteFolder):
        piece = await remote_module("objects").read_async(place, part, most=2 * LARGEST_PIECE)
        if piece is None:
            return None
        data, version = piece.plain(), piece.version
    else:
        found = await asyncio.to_thread(_from_disk, place, part)
        if found is None:
            return None
        data, version = found
    if part is not None and len(data) != part[1] - part[0]:
        raise SourceError(
            f"{place} ends after {len(data)} of {part[1] - part[0]} bytes of a part: copy it again"
        )
    return data, version


def _from_disk(place: Path, part: tuple[int, int] | None) -> tuple[bytes, str] | None:
    try:
        with place.open("rb") as file:
            if part is None:
                return file.read(), ""
            file.seek(part[0])
            return file.read(part[1] - part[0]), ""
    except (FileNotFoundError, NotADirectoryError):
        return None


class TranslatedStore(TrackedStore):
    """A Zarr store of one array of another format.

    Parameters
    ----------
    blocks : Blocks
        Its blocks.
    """

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.blocks = blocks
        order = list(range(len(blocks.shape)))[::-1]
        facts = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": blocks.shape,
            "data_type": blocks.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": blocks.block}},
            "chunk_key_encoding": {"name": "v2", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [
                {"name": "transpose", "configuration": {"order": order}},
                {"name": "bytes", "configuration": {"endian": "little"}},
            ],
            "attributes": {},
        }
        self._facts = json.dumps(facts).encode()

    def __str__(self) -> str:
        return str(self.blocks.folder)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return the metadata or a block as a chunk, None if it does not exist.

        Raises
        ------
        SourceError
            If a block is damaged.
        """
        if key == _METADATA:
            return prototype.buffer.from_bytes(part_of(self._facts, byte_range))
        index = tuple(int(number) for number in key.split("/") if number.isdecimal())
        if len(index) != len(self.blocks.shape):
            return None
        found = await self.blocks.read(index)
        name = str(self.blocks.folder / self.blocks.name(index))
        self.note(key, name, None if found is None else found[1])
        if found is None:
            return None
        chunk = await asyncio.to_thread(self._chunk, found[0], index, name)
        return prototype.buffer.from_bytes(part_of(chunk, byte_range))

    def _chunk(self, data: bytes, index: Index, name: str) -> bytes:
        blocks = self.blocks
        try:
            values = blocks.decode(data, index)
        except ParafoveaError:
            raise
        except MemoryError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SourceError(
                f"{name} is damaged ({reason[:200]}): copy or write it again"
            ) from error
        chunk = np.zeros(blocks.block, blocks.dtype.newbyteorder("<"), order="F")
        inside = tuple(slice(0, n) for n in blocks.covered(index))
        chunk[inside] = values[inside]
        return chunk.tobytes(order="F")

    def listed(self, fixed: Mapping[int, int]) -> Chunks | None:
        """Return which blocks are there, None where this is not known before they are read."""
        return self.blocks.listed(fixed)

    async def exists(self, key: str) -> bool:
        """Return whether a key is that of the metadata."""
        return key == _METADATA


def open_blocks(blocks: Blocks) -> zarr.Array[Any]:
    """Return the blocks of another format as a Zarr array, its axes in that format's order."""
    return zarr.open_array(TranslatedStore(blocks), mode="r")
