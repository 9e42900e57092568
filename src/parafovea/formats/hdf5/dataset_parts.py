"""The files and chunks that an HDF5 dataset consists of: all there, and in one folder."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from pathlib import Path
from typing import Any

import h5py

from parafovea.errors import SourceError
from parafovea.formats.hdf5.dataset_chunks import check_chunking
from parafovea.formats.hdf5.dataset_files import files_of_part
from parafovea.formats.neighbours import inside

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


def check_parts(path: str, dataset: h5py.Dataset, *, labels: bool = False, depth: int = 0) -> None:
    """Raise `SourceError` if voxels are missing or packed in a way that is not supported.

    HDF5 reads missing ones as the fill value.

    Parameters
    ----------
    path : str
        Used in error messages.
    dataset : h5py.Dataset
        Open dataset. For a virtual dataset, the files are checked; for a chunked one, the chunks
        are counted.
    labels : bool
        Whether it is a truth that nobody stated as complete, which must not have holes.
    depth : int
        Number of virtual datasets that led here.
    """
    if not math.prod(dataset.shape):
        return
    file = dataset.file.filename
    if dataset.is_virtual:
        if depth > _DEPTH:
            raise SourceError(f"{path} is made of more than {_DEPTH} layers of other datasets")
        _check_virtual(path, dataset, labels=labels, depth=depth)
        return
    for name, offset, size in dataset.external or ():
        part = _inside(path, file, os.fsdecode(name))
        if not part.is_file() or part.stat().st_size < offset + size:
            raise SourceError(
                f"{path} has its voxels in {part}, which is missing or too short: copy it again"
            )
    check_chunking(path, dataset)
    total, found = 1, int(dataset.id.get_storage_size() > 0)
    if dataset.chunks is not None:
        pieces = zip(dataset.shape, dataset.chunks, strict=True)
        total = math.prod(-(-n // k) for n, k in pieces)
        found = int(dataset.id.get_num_chunks())
    if found == 0:
        raise SourceError(
            f"{path} was never written: none of its voxels is in the file, and all would read as "
            f"{dataset.fillvalue}; write it again"
        )
    if found < total:
        _say_unwritten(path, dataset, f"{found} of {total} chunks are in the file", labels=labels)


def _say_unwritten(path: str, dataset: h5py.Dataset, said: str, *, labels: bool) -> None:
    """Warn of voxels that were never written, or raise `SourceError` in a truth."""
    if labels:
        raise SourceError(
            f"truth {path} has holes: {said}, and the others would read as {dataset.fillvalue}: "
            "write all of it; if the others are known to be empty, write truth_complete=yes in the "
            "metadata column of its line in the sample sheet"
        )
    logger.warning(
        "%s: %s; the others were never written and read as %s", path, said, dataset.fillvalue
    )


def _check_virtual(path: str, dataset: h5py.Dataset, *, labels: bool, depth: int) -> None:
    """Check that all parts of a virtual dataset are there, and that they cover all of it."""
    missing: set[str] = set()
    mapped = 0
    file = dataset.file
    for source in dataset.virtual_sources():
        if source.file_name != ".":
            _inside(path, file.filename, source.file_name)
        named = files_of_part(file.filename, source.file_name)
        blocks = "%b" in source.file_name or "%b" in source.dset_name
        if blocks:
            # HDF5 ends such a dataset before its first missing block
            mapped = math.prod(dataset.shape)
            missing |= _missing_blocks(source.file_name, named)
        else:
            mapped += source.vspace.get_select_npoints()
        whole = source.src_space.get_select_type() == h5py.h5s.SEL_ALL
        needed = source.vspace.get_select_npoints() if whole and not blocks else 0
        ends = () if whole else source.src_space.get_select_bounds()[1]
        there = []
        for name in named:
            _inside(path, file.filename, name)
            with contextlib.ExitStack() as stack:
                opened = file if name == file.filename else stack.enter_context(opened_file(name))
                there.append(
                    "%" in source.dset_name
                    or _holds(path, opened, source.dset_name, ends, needed, labels, depth)
                )
        if not any(there):
            missing.add(source.file_name)
    if missing:
        raise SourceError(
            f"{path} refers to other files, of which {len(missing)} are missing or lack their "
            f"dataset: {', '.join(sorted(missing)[:10])}: copy them to the paths that it names"
        )
    if mapped < math.prod(dataset.shape):
        said = f"{mapped} of {math.prod(dataset.shape)} voxels are mapped to a file"
        _say_unwritten(path, dataset, said, labels=labels)


def _missing_blocks(pattern: str, files: list[str]) -> set[str]:
    """Return the names of blocks that are missing before others that are there."""
    if "%b" not in pattern:
        return set()
    start, _, end = Path(pattern).name.partition("%b")
    numbers = {
        int(number)
        for number in (Path(f).name.removeprefix(start).removesuffix(end) for f in files)
        if number.isdecimal()
    }
    gaps = {*range(max(numbers, default=-1) + 1)} - numbers
    return {pattern.replace("%b", str(number)) for number in gaps}


def _holds(
    path: str,
    opened: h5py.File,
    name: str,
    ends: tuple[int, ...],
    needed: int,
    labels: bool,
    depth: int,
) -> bool:
    """Return whether a file has the dataset of a part; checks its size and its parts."""
    check_links(path, opened, name)
    found = opened.get(name)
    if not isinstance(found, h5py.Dataset):
        return False
    if found.size < needed or any(e >= n for e, n in zip(ends, found.shape, strict=False)):
        raise SourceError(
            f"{path} needs more voxels of {opened.filename}:{name} than its shape {found.shape} "
            "has: write one of them again"
        )
    check_parts(path, found, labels=labels, depth=depth + 1)
    return True
