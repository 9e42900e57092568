"""Shards of precomputed volumes: where in which file a chunk is."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.remote.address import Folder
from parafovea.formats.unpacking import LARGEST_PIECE, unpacked
from parafovea.formats.zarr.translated_store import read_file
from parafovea.runtime.optional_packages import import_extra

_TYPE = "neuroglancer_uint64_sharded_v1"

#: Most bytes of an index of a shard, and of a part of it.
_LARGEST_INDEX = 2**28


class Shards:
    """Files with the chunks of a scale.

    Parameters
    ----------
    folder : Path or RemoteFolder
        Of the scale.
    facts : mapping
        What its description says of the sharding.
    counts : sequence of int
        Number of chunks along x, y, z.

    Raises
    ------
    SourceError
        If the sharding is of another kind, or makes no sense.
    """

    def __init__(self, folder: Folder, facts: Mapping[str, Any], counts: Sequence[int]) -> None:
        self._folder = folder
        self._bits = [max(0, (n - 1).bit_length()) for n in counts]
        try:
            if facts["@type"] != _TYPE:
                raise ValueError(f"it is a {facts['@type']}")
            self._preshift, self._minishard, self._shard = (
                int(facts[key]) for key in ("preshift_bits", "minishard_bits", "shard_bits")
            )
            self._hash = str(facts["hash"])
            self._packed_index = _is_packed(facts.get("minishard_index_encoding", "raw"))
            self._packed_data = _is_packed(facts.get("data_encoding", "raw"))
            bits = (self._preshift, self._minishard, self._shard)
            if min(bits) < 0 or max(bits) > 64 or 16 << self._minishard > _LARGEST_INDEX:
                raise ValueError(f"{bits} bits")
            if self._hash not in ("identity", "murmurhash3_x86_128"):
                raise ValueError(f"the hash {self._hash!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"{folder} has chunks in shards of a kind that is not supported "
                f"({type(error).__name__}: {error}): write it again without shards, or as {_TYPE}"
            ) from error
        self._indices: dict[tuple[int, int], dict[int, tuple[int, int]] | None] = {}

    def name(self, place: Sequence[int]) -> str:
        """Return the file of a chunk and its id, for messages."""
        chunk = self._id(place)
        return f"{self._file(self._where(chunk)[0])}#{chunk}"

    async def read(self, place: Sequence[int]) -> tuple[bytes, str] | None:
        """Return the bytes of a chunk and the version of its shard, None if there is none.

        Raises
        ------
        SourceError
            If it cannot be read, or the index of its shard is damaged.
        """
        chunk = self._id(place)
        shard, minishard = self._where(chunk)
        file = self._folder / self._file(shard)
        if (shard, minishard) not in self._indices:
            self._indices[shard, minishard] = await self._index(file, minishard)
        index = self._indices[shard, minishard]
        if index is None or chunk not in index:
            return None
        found = await read_file(file, index[chunk])
        if found is None:
            raise SourceError(f"{file} disappeared while it was read: copy the volume again")
        data, version = found
        if self._packed_data:
            data = _unpacked(file, data)
        return data, version

    async def _index(self, file: Folder, minishard: int) -> dict[int, tuple[int, int]] | None:
        """Return the first byte and the end of each chunk of a part of a shard."""
        found = await read_file(file, (16 * minishard, 16 * minishard + 16))
        if found is None:
            return None
        # offsets count from the end of the table of all parts
        base = 16 << self._minishard
        first, stop = struct.unpack("<QQ", found[0])
        if first == stop:
            return {}
        if not first < stop <= first + _LARGEST_INDEX:
            raise SourceError(f"{file} is damaged (an index from {first} to {stop}): copy it again")
        found = await read_file(file, (base + first, base + stop))
        data = b"" if found is None else found[0]
        if self._packed_index:
            data = _unpacked(file, data)
        if len(data) % 24:
            raise SourceError(f"{file} is damaged (an index of {len(data)} bytes): copy it again")
        chunks, starts, sizes = np.frombuffer(data, "<u8").reshape(3, -1)
        chunks = np.cumsum(chunks)
        ends = np.cumsum(starts + sizes) + np.uint64(base)
        begins = ends - sizes
        if len(sizes) and int(sizes.max()) > 2 * LARGEST_PIECE:
            raise SourceError(f"{file} is damaged (a chunk of {sizes.max()} bytes): copy it again")
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        return dict(zip(chunks.tolist(), spans, strict=True))

    def _id(self, place: Sequence[int]) -> int:
        """Return the compressed Morton code of a chunk."""
        code, bit = 0, 0
        for level in range(max(self._bits, default=0)):
            for index, bits in zip(place, self._bits, strict=True):
                if level < bits:
                    code |= (index >> level & 1) << bit
                    bit += 1
        return code

    def _where(self, chunk: int) -> tuple[int, int]:
        """Return the shard of a chunk, and the part of it."""
        key = chunk >> self._preshift
        if self._hash != "identity":
            mmh3 = import_extra("mmh3")
            key = mmh3.hash64(struct.pack("<Q", key), 0, x64arch=False, signed=False)[0]
        minishard = key & ((1 << self._minishard) - 1)
        return key >> self._minishard & ((1 << self._shard) - 1), minishard

    def _file(self, shard: int) -> str:
        return f"{shard:0{-(-self._shard // 4)}x}.shard"


def _is_packed(encoding: Any) -> bool:
    if encoding not in ("raw", "gzip"):
        raise ValueError(f"the encoding {encoding!r}")
    return bool(encoding == "gzip")


def _unpacked(file: Folder, data: bytes) -> bytes:
    try:
        return unpacked("gzip", data, LARGEST_PIECE, exact=False)
    except Exception as error:
        raise SourceError(f"{file} is damaged ({error}): copy it again") from error
