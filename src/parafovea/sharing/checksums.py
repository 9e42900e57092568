"""SHA-256 of files, and of folders as lists in the form of `sha256sum`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from parafovea.runtime.file_hash import file_sha256
from parafovea.storage.contents import STAMPS, content_files

#: Ending of the list of a folder.
LIST = ".sha256"


@dataclass(frozen=True)
class FolderChecksums:
    """The files of a folder with their checksums.

    Parameters
    ----------
    text : str
        A line for each file, its SHA-256 and its path in the folder, as `sha256sum` writes it and
        ``sha256sum --check`` reads it.
    files : int
        Number of files.
    size : int
        Bytes of all files.
    """

    text: str
    files: int
    size: int


def folder_checksums(folder: Path, *, follow: bool = False) -> FolderChecksums:
    """Return the checksums of a folder's files, without those that the workflow keeps notes in.

    Parameters
    ----------
    folder : Path
        The folder.
    follow : bool
        Whether to follow links, as for a source; links of results lead to other results.
    """
    names = [name for name, _ in content_files(str(folder))] if follow else _own_files(folder)
    lines, size = [], 0
    for name in sorted(names):
        lines.append(_line(file_sha256(folder / name), name))
        size += (folder / name).stat().st_size
    return FolderChecksums("".join(lines), len(lines), size)


def _own_files(folder: Path) -> list[str]:
    """Return the files of a folder by their names in it, without those behind links."""
    return [
        Path(place, name).relative_to(folder).as_posix()
        for place, _, names in os.walk(folder)
        for name in names
        if name not in STAMPS and Path(place, name).is_file() and not Path(place, name).is_symlink()
    ]


def _line(digest: str, name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
    # how sha256sum marks an escaped name
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"
