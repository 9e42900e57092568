"""The chain of pages of a TIFF file, followed before a library does.

Each page states where the next one is, and tifffile follows a chain that comes back to itself
forever.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Literal

from parafovea.errors import SourceError

_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}

#: Bytes of the count of a page's tags, of a tag, and of an offset, by the version of TIFF.
_LAYOUTS = {42: (2, 12, 4), 43: (8, 20, 8)}

#: Where the first page's offset is, by the version of TIFF.
_FIRST = {42: 4, 43: 8}


def check_chain(path: str) -> None:
    """Raise `SourceError` if the pages of a TIFF file are a circle, or lie on top of each other.

    Parameters
    ----------
    path : str
        A file; what is no TIFF, or ends in the middle of its chain, is left to its reader.

    Raises
    ------
    SourceError
        With the page after which the chain is damaged.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        order = _ORDERS.get(file.read(2))
        if order is None:
            return
        version = int.from_bytes(file.read(2), order)
        if version not in _LAYOUTS:
            return
        count_bytes, tag_bytes, offset_bytes = _LAYOUTS[version]
        file.seek(_FIRST[version])
        offset = _number(file, offset_bytes, order)
        seen: set[int] = set()
        used = 0
        while offset is not None and 0 < offset < size:
            file.seek(offset)
            tags = _number(file, count_bytes, order)
            if tags is None:
                return
            length = count_bytes + tags * tag_bytes
            used += length
            if offset in seen or used > size:
                raise SourceError(
                    f"{path} is damaged: the page after page {len(seen) - 1} is at byte {offset}, "
                    "among the pages before it, so the pages have no end: copy or write it again"
                )
            seen.add(offset)
            file.seek(offset + length)
            offset = _number(file, offset_bytes, order)


def _number(file: IO[bytes], width: int, order: Literal["little", "big"]) -> int | None:
    """Return the next whole number of a file, None at its end."""
    raw = file.read(width)
    return int.from_bytes(raw, order) if len(raw) == width else None
