"""A source that is read stays what it is: missing chunks of Zarr would read as zeros otherwise."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from parafovea.errors import ParafoveaError, SourceError
from parafovea.formats.location import locate


@contextlib.contextmanager
def unchanged(*paths: str) -> Iterator[Callable[[], None]]:
    """Watch sources while they are read; a change or a loss is one error, whatever else it caused.

    Parameters
    ----------
    *paths : str
        As in the sample sheet.

    Yields
    ------
    function
        Call it when all is read, before the result is put in place.

    Raises
    ------
    SourceError
        From the function or the block, if a source is another than when the block began.
    """
    before = {path: _state(path) for path in paths}

    def check() -> None:
        for path, state in before.items():
            if _state(path) != state:
                raise SourceError(
                    f"{path} changed or disappeared while it was read: put it back and leave it "
                    "as it is, then run again"
                )

    try:
        yield check
    except Exception:
        check()
        raise


def _state(path: str) -> str | None:
    """Return a hash of sizes and times of modification of a source's files; None without any.

    A folder counts by the entries and times of all folders in it: programs that write chunks
    rename them into place.
    """
    try:
        location = locate(path)
        digest = hashlib.sha256()
        for name in dict.fromkeys((*location.files, *location.slices)):
            place = Path(name)
            for folder in sorted(_folders(place)) if place.is_dir() else [name]:
                status = os.stat(folder)  # noqa: PTH116  (as many as there are folders)
                size = status.st_size if folder == name and not place.is_dir() else 0
                digest.update(f"{folder}\0{size}\0{status.st_mtime_ns}\0".encode())
        return digest.hexdigest()
    except (OSError, ParafoveaError):
        return None


def _folders(folder: Path) -> Iterator[str]:
    for place, _, _ in os.walk(folder):
        yield place
