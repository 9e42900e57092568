"""Files that a source names: only those within its own folder are read."""

from __future__ import annotations

from pathlib import Path
from typing import overload

from parafovea.formats.remote.address import Folder, RemoteFolder


@overload
def inside(folder: Path, name: str) -> Path | None: ...


@overload
def inside(folder: RemoteFolder, name: str) -> RemoteFolder | None: ...


def inside(folder: Folder, name: str) -> Folder | None:
    """Return a file or folder by the name that a source states, or None if it is outside.

    Parameters
    ----------
    folder : Path or RemoteFolder
        The folder of the source.
    name : str
        Relative to the folder, or absolute.

    Returns
    -------
    Path, RemoteFolder or None
        A path within the folder, also with all links followed; it need not exist.
    """
    if isinstance(folder, RemoteFolder):
        return folder.within(name)
    there = folder / name
    return there if there.resolve().is_relative_to(folder.resolve()) else None
