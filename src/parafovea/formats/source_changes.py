"""Detection of changes to a source while it is read; missing Zarr chunks would read as zeros."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from parafovea.errors import ParafoveaError, SourceError
from parafovea.formats.channel_files import paths_of
from parafovea.formats.location import locate
from parafovea.formats.registry import remote_documents
from parafovea.formats.remote.address import is_address


@contextlib.contextmanager
def unchanged(*paths: str, bands: bool = False) -> Iterator[Callable[[], None]]:
    """Watch sources while they are read; a change or loss is reported as one error.

    Parameters
    ----------
    *paths : str
        Source strings as in the sample sheet; each file of one source a channel is watched.
    bands : bool
        Whether they are images with bands.

    Yields
    ------
    function
        To be called after reading, before the result is moved into place.

    Raises
    ------
    SourceError
        From the function or the block, if a source has changed since the block began.
    """
    before = {each: _state(each, bands) for path in paths for each in paths_of(path)}

    def check() -> None:
        for path, state in before.items():
            if _state(path, bands) != state:
                raise SourceError(
                    f"{path} changed or disappeared while it was read: put it back, leave it "
                    "unchanged and run again"
                )

    try:
        yield check
    except Exception:
        check()
        raise


def _state(path: str, bands: bool) -> str | None:
    """Return what tells versions of a source's files apart, or None without any files.

    A folder is represented by the entries and times of all folders in it, since programs that
    write chunks rename them into place. Of an address, the server says the versions of the files of
    metadata; those of chunks are compared where they are read.
    """
    try:
        if is_address(path):
            remote_documents().forget()
            return "\n".join(map(remote_documents().version, locate(path, bands=bands).files))
        location = locate(path, bands=bands)
        digest = hashlib.sha256()
        for name in dict.fromkeys((*location.files, *location.slices)):
            place = Path(name)
            for folder in sorted(_folders(place)) if place.is_dir() else [name]:
                status = os.stat(folder)  # noqa: PTH116  (faster, for many folders)
                size = status.st_size if folder == name and not place.is_dir() else 0
                digest.update(f"{folder}\0{size}\0{status.st_mtime_ns}\0".encode())
        return digest.hexdigest()
    except (OSError, ParafoveaError):
        return None


def _folders(folder: Path) -> Iterator[str]:
    for place, _, _ in os.walk(folder):
        yield place
