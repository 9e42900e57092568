"""Files that a source names: only those within its own folder are read."""

from __future__ import annotations

from pathlib import Path


def inside(folder: Path, name: str) -> Path | None:
    """Return a file or folder by the name that a source states, or None if it is outside.

    Parameters
    ----------
    folder : Path
        The folder of the source.
    name : str
        Relative to the folder, or absolute.

    Returns
    -------
    Path or None
        A path within the folder, also with all links followed; it need not exist.
    """
    there = folder / name
    return there if there.resolve().is_relative_to(folder.resolve()) else None
