"""A Zarr store of what is at an address, which knows what was missing of what was read."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import (
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)

from parafovea.errors import SourceError
from parafovea.formats.remote.address import RemoteFolder
from parafovea.formats.remote.documents import DOCUMENTS, NAMES
from parafovea.formats.remote.objects import read_async
from parafovea.formats.unpacking import LARGEST_PIECE, unpacked


class RemoteStore(Store):
    """Files below an address, for reading alone.

    Parameters
    ----------
    folder : RemoteFolder
        Of the group or array.

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

    def __init__(self, folder: RemoteFolder) -> None:
        super().__init__(read_only=True)
        self.folder = folder
        self.there: dict[str, str] = {}
        self.missing: set[str] = set()
        self.refuses = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and other.folder == self.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def __str__(self) -> str:
        return str(self.folder)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return a file or a part of it, None if there is none.

        Raises
        ------
        SourceError
            If it cannot be read, or is another one than when it was read first.
        """
        place = self.folder / key
        if place.name in NAMES:
            data = DOCUMENTS.read(place) if DOCUMENTS.is_there(place) else None
            return None if data is None else prototype.buffer.from_bytes(_part(data, byte_range))
        piece = await read_async(place, _asked(byte_range), most=2 * LARGEST_PIECE)
        if piece is None:
            self._note_missing(key)
            return None
        version = f"{piece.etag} {piece.modified} {piece.size}"
        if self.there.setdefault(key, version) != version or key in self.missing:
            raise SourceError(f"{place} changed while it was read: run again once it is complete")
        data = piece.data
        if piece.encoding == "gzip":
            if byte_range is not None:
                raise SourceError(
                    f"{place} is compressed by the server (Content-Encoding: gzip), so that no "
                    "part of it can be read: serve it as it is"
                )
            data = unpacked("gzip", data, LARGEST_PIECE, exact=False)
        return prototype.buffer.from_bytes(data)

    def _note_missing(self, key: str) -> None:
        if self.refuses:
            raise SourceError(f"{self.folder / key} does not exist: {self.refuses}")
        if key in self.there:
            raise SourceError(
                f"{self.folder / key} disappeared while it was read: run again once it is complete"
            )
        self.missing.add(key)

    async def get_partial_values(
        self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]
    ) -> list[Any]:
        """Return parts of files; see `get`."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether there is a file of metadata."""
        return DOCUMENTS.is_there(self.folder / key)

    def indices(self, keys: Iterable[str]) -> set[tuple[int, ...]]:
        """Return the indices in the chunk grid of keys of chunks."""
        return {tuple(int(number) for number in re.findall("[0-9]+", key)) for key in keys}

    async def set(self, key: str, value: Any) -> None:
        """Refuse to write."""
        raise NotImplementedError("sources are only read")

    async def delete(self, key: str) -> None:
        """Refuse to delete."""
        raise NotImplementedError("sources are only read")

    def list(self) -> AsyncIterator[str]:
        """Refuse to list: a server does not say which files there are."""
        raise NotImplementedError("a server does not say which files there are")

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        return self.list()

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        return self.list()


def _asked(part: Any) -> tuple[int, int] | dict[str, int] | None:
    if part is None:
        return None
    if isinstance(part, RangeByteRequest):
        return part.start, part.end
    if isinstance(part, OffsetByteRequest):
        return {"offset": part.offset}
    return {"suffix": part.suffix}


def _part(data: bytes, part: Any) -> bytes:
    if isinstance(part, RangeByteRequest):
        return data[part.start : part.end]
    if isinstance(part, OffsetByteRequest):
        return data[part.offset :]
    if isinstance(part, SuffixByteRequest):
        return data[-part.suffix :]
    return data
