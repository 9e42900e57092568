"""A Zarr store that is only read, and knows which chunks were there and which were missing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from parafovea.errors import SourceError
from parafovea.formats.zarr.missing_chunks import Chunks

Index = tuple[int, ...]


class TrackedStore(Store):
    """A store for reading alone, whose keys of chunks hold their indices.

    Attributes
    ----------
    there : dict of str to str
        Keys of the chunks that were read, with their version.
    missing : set of str
        Keys of chunks that were asked for and do not exist.
    refuses : str
        Why no chunk may be missing; "" if they may.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self) -> None:
        super().__init__(read_only=True)
        self.there: dict[str, str] = {}
        self.missing: set[str] = set()
        self.refuses = ""

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def note(self, key: str, name: str, version: str | None) -> None:
        """Note that a chunk was read.

        Parameters
        ----------
        key : str
            Its key.
        name : str
            Its file, for messages.
        version : str or None
            Its version; None if it does not exist.

        Raises
        ------
        SourceError
            If no chunk may be missing, or it is not as it was before.
        """
        if version is None:
            if self.refuses:
                raise SourceError(f"{name} does not exist: {self.refuses}")
            self.missing.add(key)
        else:
            self.there.setdefault(key, version)
        if (key in self.missing and key in self.there) or self.there.get(key, version) != version:
            raise SourceError(f"{name} changed while it was read: run again once it is complete")

    def listed(self, fixed: Mapping[int, int]) -> Chunks | None:
        """Return which chunks are there, None where this is not known before they are read.

        Parameters
        ----------
        fixed : mapping of int to int
            Index that is read along an axis; chunks elsewhere do not count.
        """
        return None

    async def get_partial_values(
        self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]
    ) -> list[Any]:
        """Return parts of files; see `get`."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    @staticmethod
    def indices(keys: Iterable[str]) -> set[Index]:
        """Return the indices in the chunk grid of keys of chunks."""
        return {tuple(int(number) for number in re.findall("[0-9]+", key)) for key in keys}

    async def set(self, key: str, value: Any) -> None:
        """Refuse to write."""
        raise NotImplementedError("sources are only read")

    async def delete(self, key: str) -> None:
        """Refuse to delete."""
        raise NotImplementedError("sources are only read")

    def list(self) -> AsyncIterator[str]:
        """Refuse to list, which a server cannot do."""
        raise NotImplementedError("sources are not listed")

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        return self.list()

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        return self.list()


def part_of(data: bytes, part: Any) -> bytes:
    """Return the part of a file that zarr asks for."""
    if isinstance(part, RangeByteRequest):
        return data[part.start : part.end]
    if isinstance(part, OffsetByteRequest):
        return data[part.offset :]
    if isinstance(part, SuffixByteRequest):
        return data[-part.suffix :]
    return data
