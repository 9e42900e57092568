"""The files that hold the voxels of an HDF5 dataset: its own, or others that it refers to."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from parafovea.formats.neighbours import inside


def files(path: str, dataset: str = "") -> tuple[str, ...]:
    """Return the files that a dataset depends on.

    Parameters
    ----------
    path : str
        The HDF5 file.
    dataset : str
        Name of the dataset within it.

    Returns
    -------
    tuple of str
        The file, then the files of a virtual dataset or of external storage that exist. Files that
        cannot be read are reported when the source is opened.
    """
    try:
        return tuple(dict.fromkeys([path, *_others(path, dataset)]))
    except (OSError, KeyError, ValueError, RuntimeError):
        return (path,)


def _others(file: str, dataset: str) -> Iterator[str]:
    import h5py

    # Many cluster file systems do not support locks; reading does not need them.
    with h5py.File(file, "r", locking="best-effort") as opened:
        found = opened.get(dataset) if dataset else None
        if not isinstance(found, h5py.Dataset):
            return
        for name, _, _ in found.external or ():
            beside = Path(file).parent / os.fsdecode(name)
            if beside.is_file():
                yield str(beside)
        for source in found.virtual_sources() if found.is_virtual else ():
            for part in files_of_part(file, source.file_name):
                if Path(part) != Path(file):
                    yield part
                    yield from _others(part, source.dset_name)


def files_of_part(file: str, name: str) -> list[str]:
    """Return the files of a part of a virtual dataset, in the folder of its own file.

    Parameters
    ----------
    file : str
        File of the virtual dataset.
    name : str
        Name of the part's file; %b stands for the number of a block.
    """
    if name == ".":
        return [file]
    folder = Path(file).parent
    pattern = glob.escape(str(folder / name)).replace("%b", "*")
    found = glob.glob(pattern)  # noqa: PTH207  (absolute patterns)
    return sorted(each for each in found if inside(folder, each) is not None)
