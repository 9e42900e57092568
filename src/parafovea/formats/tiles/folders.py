"""Which folders are folders of tiles: told by the names of their files, none is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from parafovea.formats.location import TIFF_SUFFIXES, ZARR_METADATA

NPZ_SUFFIX, SIDECAR_SUFFIX = ".npz", ".json"


def is_tile_folder(path: str, *, images: bool = False) -> bool:
    """Tell whether a path is a folder of tiles.

    Parameters
    ----------
    path : str
        Anything; nothing needs to be there.
    images : bool
        Whether TIFF files are images, too; else they are slices of a volume.
    """
    folder = Path(path)
    if not folder.is_dir() or any((folder / name).is_file() for name in ZARR_METADATA):
        return False
    suffixes = (NPZ_SUFFIX, *TIFF_SUFFIXES) if images else (NPZ_SUFFIX,)
    return next(files_named(path, suffixes), None) is not None


def files_named(folder: str | Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of the files of a folder that end so, in no order; none of hidden files."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if (
                entry.name.lower().endswith(suffixes)
                and not entry.name.startswith(".")
                and entry.is_file()
            ):
                yield entry.name
