"""The files and chunks that an HDF5 dataset consists of: all there, and in one folder."""

from __future__ import annotations

import glob
import logging
import math
import os
from pathlib import Path
from typing import Any

import h5py

from parafovea.errors import SourceError
from parafovea.formats.neighbours import inside
from parafovea.formats.unpacking import check_size

logger = logging.getLogger(__name__)

#: Links and virtual datasets that may lead from one to the next.
_DEPTH = 16

#: Files of a dataset are looked up in the folder of its own file, wherever the program runs.
_ORIGIN = b"${ORIGIN}"


def opened_file(file: str) -> Any:
    """Return an HDF5 file that is open for reading."""
    # Many cluster file systems do not support locks; reading does not need them.
    return h5py.File(file, "r", locking="best-effort")


def opened_dataset(opened: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset whose other files are looked up in the folder of its own."""
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_efile_prefix(_ORIGIN)
    access.set_virtual_prefix(_ORIGIN)
    return h5py.Dataset(h5py.h5d.open(opened.id, name.encode(), access))


def check_links(path: str, opened: h5py.File, name: str, depth: int = 0) -> None:
    """Raise `SourceError` if the way to a dataset leads through files outside of the folder.

    Parameters
    ----------
    path : str
        Used in the error message.
    opened : h5py.File
        The file.
    name : str
        Name of the dataset, which need not exist.
    depth : int
        Number of links that led here.
    """
    if depth > _DEPTH:
        raise SourceError(f"{path} is behind more than {_DEPTH} links: name the dataset itself")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for k in range(1, len(parts) + 1):
        here, rest = "/".join(parts[:k]), "/".join(parts[k:])
        link = opened.get(here, getlink=True)
        if isinstance(link, h5py.SoftLink):
            start = "" if link.path.startswith("/") else "/".join(parts[: k - 1])
            check_links(path, opened, f"{start}/{link.path}/{rest}", depth + 1)
            return
        if isinstance(link, h5py.ExternalLink):
            there = _inside(path, opened.filename, link.filename)
            if not there.is_file():
                # HDF5 would also look for it where the program runs
                raise SourceError(f"{path} is a link to {there}, which is missing: copy it there")
            with opened_file(str(there)) as other:
                check_links(path, other, f"{link.path}/{rest}", depth + 1)
            return
        if link is None:
            return


def _inside(path: str, file: str, name: str) -> Path:
    there = inside(Path(file).parent, name)
    if there is None:
        raise SourceError(
            f"{path} has voxels in {name!r}, outside of the folder of {file}: put all files into "
            "one folder, and name them relative to it"
        )
    return there


def check_parts(path: str, dataset: h5py.Dataset, depth: int = 0) -> None:
    """Raise `SourceError` if voxels are missing, since HDF5 reads them as the fill value.

    Parameters
    ----------
    path : str
        Used in error messages.
    dataset : h5py.Dataset
        Open dataset. For a virtual dataset, the files are checked; for a chunked one, the chunks
        are counted.
    depth : int
        Number of virtual datasets that led here.
    """
    if not math.prod(dataset.shape):
        return
    file = dataset.file.filename
    if dataset.is_virtual:
        if depth > _DEPTH:
            raise SourceError(f"{path} is made of more than {_DEPTH} layers of other datasets")
        missing = [
            source.file_name
            for source in dataset.virtual_sources()
            if not _is_there(path, dataset.file, source.file_name, source.dset_name, depth)
        ]
        if missing:
            names = sorted({*missing})
            raise SourceError(
                f"{path} refers to other files, of which {len(names)} are missing or "
                f"lack their dataset: {', '.join(names[:10])}: copy them to the paths that it names"
            )
        return
    for name, offset, size in dataset.external or ():
        part = _inside(path, file, os.fsdecode(name))
        if not part.is_file() or part.stat().st_size < offset + size:
            raise SourceError(
                f"{path} has its voxels in {part}, which is missing or too short: copy it again"
            )
    total, found = 1, int(dataset.id.get_storage_size() > 0)
    if dataset.chunks is not None:
        size = math.prod(dataset.chunks) * dataset.dtype.itemsize
        check_size(path, size, f"each chunk {dataset.chunks} of {dataset.dtype}")
        pieces = zip(dataset.shape, dataset.chunks, strict=True)
        total = math.prod(-(-n // k) for n, k in pieces)
        found = int(dataset.id.get_num_chunks())
    if found == 0:
        raise SourceError(
            f"{path} was never written: none of its voxels is in the file, and all would read as "
            f"{dataset.fillvalue}; write it again"
        )
    if found < total:
        logger.warning(
            "%s: %d of %d chunks are in the file; the others were never written and read as %s",
            path,
            found,
            total,
            dataset.fillvalue,
        )


def _is_there(path: str, opened: h5py.File, name: str, dataset: str, depth: int) -> bool:
    """Return whether a file of a virtual dataset and its dataset exist; checks their parts."""
    if name == ".":
        return _holds(path, opened, dataset, depth)
    folder = Path(opened.filename).parent
    _inside(path, opened.filename, name)
    # %b stands for the block number in file and dataset names
    pattern = glob.escape(str(folder / name)).replace("%b", "*")
    for found in glob.glob(pattern):  # noqa: PTH207  (absolute patterns)
        _inside(path, opened.filename, found)
        if "%" in dataset:
            return True
        with opened_file(found) as part:
            if _holds(path, part, dataset, depth):
                return True
    return False


def _holds(path: str, opened: h5py.File, name: str, depth: int) -> bool:
    check_links(path, opened, name)
    found = opened.get(name)
    if not isinstance(found, h5py.Dataset):
        return False
    if found.is_virtual or found.external:
        check_parts(path, found, depth + 1)
    return True
