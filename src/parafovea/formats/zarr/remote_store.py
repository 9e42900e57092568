"""A Zarr store of what is at an address."""

from __future__ import annotations

from typing import Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest

from parafovea.errors import SourceError
from parafovea.formats.remote.address import RemoteFolder
from parafovea.formats.remote.documents import DOCUMENTS, NAMES
from parafovea.formats.remote.objects import read_async
from parafovea.formats.unpacking import LARGEST_PIECE
from parafovea.formats.zarr.tracked_store import TrackedStore, part_of


class RemoteStore(TrackedStore):
    """Files below an address.

    Parameters
    ----------
    folder : RemoteFolder
        Of the group or array.
    """

    def __init__(self, folder: RemoteFolder) -> None:
        super().__init__()
        self.folder = folder

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
            return None if data is None else prototype.buffer.from_bytes(part_of(data, byte_range))
        piece = await read_async(place, _asked(byte_range), most=2 * LARGEST_PIECE)
        self.note(key, str(place), None if piece is None else piece.version)
        if piece is None:
            return None
        if piece.encoding and byte_range is not None:
            raise SourceError(
                f"{place} is compressed by the server (Content-Encoding: {piece.encoding}), so "
                "that no part of it can be read: serve it as it is"
            )
        return prototype.buffer.from_bytes(piece.plain())

    async def exists(self, key: str) -> bool:
        """Return whether there is a file of metadata."""
        return DOCUMENTS.is_there(self.folder / key)


def _asked(part: Any) -> tuple[int, int] | dict[str, int] | None:
    if part is None:
        return None
    if isinstance(part, RangeByteRequest):
        return part.start, part.end
    if isinstance(part, OffsetByteRequest):
        return {"offset": part.offset}
    return {"suffix": part.suffix}
