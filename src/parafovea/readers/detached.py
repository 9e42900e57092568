"""Headers whose voxels are in another file: NRRD's .nhdr and MetaImage's .mhd.

The workflow asks for that file while it plans its jobs, so only the standard library is imported.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from parafovea.errors import SourceError

#: Headers are a few lines; what is longer is none.
MAX_HEADER = 2**20

#: The field that names the voxels, in either format; no line of one is a field of the other.
_FIELDS = ("data file", "datafile", "elementdatafile")


def data_file(path: str) -> str | None:
    """Return the file of the voxels that a header names, None where they are in the same file.

    Parameters
    ----------
    path : str
        A NRRD or MetaImage file.

    Raises
    ------
    SourceError
        If the header names files outside of its folder, several files, or cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(MAX_HEADER)
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error}): correct its permissions") from error
    for line in head.splitlines():
        field, mark, value = line.replace(b"=", b":", 1).partition(b":")
        if not line.strip():
            break
        if mark and field.strip().lower().decode("ascii", "replace") in _FIELDS:
            return _beside(path, value.strip().decode("utf-8", "replace"))
    return None


def _beside(path: str, name: str) -> str | None:
    if name.upper() == "LOCAL":
        return None
    if name.split()[:1] == ["LIST"] or "%" in name:
        raise SourceError(
            f"{path} has its voxels in several files ({name!r}): write it again as one file"
        )
    folder = Path(path).parent
    outside = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    there = folder / name
    if outside or not there.resolve().is_relative_to(folder.resolve()):
        raise SourceError(
            f"{path} has its voxels in {name!r}, outside of its folder: put both into one folder "
            "and name the file alone in the header"
        )
    return os.fspath(there)
