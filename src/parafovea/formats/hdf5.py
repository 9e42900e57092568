"""HDF5 datasets, named as `file.h5:dataset`."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.coordinates import Coordinates, by_coordinates, coordinates_of
from parafovea.formats.hdf5_files import files_of_part, opened_file
from parafovea.formats.location import Location
from parafovea.formats.named_axes import chosen_axes, stated_names
from parafovea.formats.source import (
    Array,
    Request,
    Source,
    StoredArray,
    VolumeView,
    readable,
)
from parafovea.formats.source_placement import (
    Stated,
    place,
    stated_by_attributes,
    stated_by_axis,
)
from parafovea.formats.stored_values import by_attributes, without_sign

logger = logging.getLogger(__name__)

#: Name of a level of a view in BigDataViewer files, which store unsigned integers as signed ones.
_BIG_DATA_VIEWER = re.compile(r"t[0-9]{5}/s[0-9]{2,}/[0-9]+/cells")


def open_volume(location: Location, request: Request) -> Source:
    """Open a dataset of an HDF5 file.

    Parameters
    ----------
    location : Location
        The file, and the name of the dataset within it, with axes z, y, x or y, x, or with named
        axes.
    request : Request
        User metadata.

    Returns
    -------
    Source
        Spacing from the attributes `resolution`, `voxel_size`, `spacing` or `element_size_um`.

    Raises
    ------
    SourceError
        If the file is damaged, has no such dataset, the dataset is not a volume, or parts of it
        are missing.
    """
    path, dataset, metadata = location.path, location.dataset, request.metadata
    file = location.files[0]
    with readable(path), opened_file(file) as opened:
        found = opened.get(dataset) if dataset else None
        if not isinstance(found, h5py.Dataset):
            raise SourceError(_no_dataset(file, dataset, opened))
        shape = tuple(found.shape or ())
        dtype = np.dtype(found.dtype)
        attributes: Mapping[str, Any] = dict(found.attrs)
        labels_of_axes = _labels(found)
        scales = _scales(found)
        beside = _coordinates(found)
        cut, imaris = _imaris(opened, found)
        _check_parts(path, file, found, labels=request.refuses_holes)
    others = {"labels of its dimensions": labels_of_axes, "scales of its dimensions": scales}
    letters = stated_names(attributes, dimensions=len(shape), path=path, others=others)
    axes, fixed = chosen_axes(path, letters, shape, metadata.channel)
    stated = stated_by_attributes(dict(attributes), dimensions=len(shape), path=path, axes=axes)
    stored: StoredArray = Dataset(file, dataset, dtype, cut or shape)
    if imaris is not None:
        stated = imaris
    along = [None if axis is None else beside[axis] for axis in axes]
    stated = by_coordinates(path, along, stated, metadata)
    if _BIG_DATA_VIEWER.fullmatch(dataset) and dtype.kind == "i":
        stored = without_sign(stored)
    stored, ignored = by_attributes(stored, attributes, path, labels=request.labels)
    view = VolumeView(stored, path, axes=axes, fixed=fixed)
    return Source(path, view, place(path, view.shape, stated, metadata), ignored=ignored)


def _labels(dataset: h5py.Dataset) -> list[str] | None:
    """Return the labels of a dataset's dimensions, or None if it has none."""
    labels = [str(dimension.label) for dimension in dataset.dims]
    return labels if any(labels) else None


def _scales(dataset: h5py.Dataset) -> list[str] | None:
    """Return the names of the dataset's dimension scales, as used by netCDF, or None."""
    if not all(len(dimension) for dimension in dataset.dims) or not dataset.ndim:
        return None
    return [str(dimension[0].name).rpartition("/")[2] for dimension in dataset.dims]


def _coordinates(dataset: h5py.Dataset) -> list[Coordinates | None]:
    """Return the coordinates of a dataset along its axes, from its dimension scales."""
    found: list[Coordinates | None] = []
    for dimension, length in zip(dataset.dims, dataset.shape, strict=True):
        scale = dimension[0] if len(dimension) else None
        if scale is None or scale.shape != (length,):
            found.append(None)
        else:
            found.append(coordinates_of(scale[...], dict(scale.attrs), length=length))
    return found


def _imaris(
    file: h5py.File, dataset: h5py.Dataset
) -> tuple[tuple[int, int, int] | None, Stated | None]:
    """Return the shape and the place of a channel of an Imaris file, or None for other files.

    Its datasets are padded to whole chunks; the size of the image is an attribute of the channel.
    """
    words = {key: _letters(value) for key, value in dataset.parent.attrs.items()}
    if dataset.ndim != 3 or not all(f"ImageSize{axis}" in words for axis in "XYZ"):
        return None, None
    z, y, x = (int(words[f"ImageSize{axis}"]) for axis in "ZYX")
    shape = (min(z, dataset.shape[0]), min(y, dataset.shape[1]), min(x, dataset.shape[2]))
    image = file.get("DataSetInfo/Image")
    stated = None
    if isinstance(image, h5py.Group):
        words = {key: _letters(value) for key, value in image.attrs.items()}
        ends = [[float(words.get(f"Ext{e}{a}", "nan")) for a in (2, 1, 0)] for e in ("Min", "Max")]
        spacing = [(b - a) / n for a, b, n in zip(*ends, shape, strict=True)]
        if all(math.isfinite(step) and step > 0 for step in spacing):
            first = [a + step / 2 for a, step in zip(ends[0], spacing, strict=True)]
            unit = words.get("Unit", "um")
            stated = stated_by_axis(spacing, [unit] * 3, first)
    return shape, stated


def _letters(value: Any) -> str:
    """Return an attribute of Imaris, which are arrays of single characters, as text."""
    parts = np.asarray(value).reshape(-1).tolist()
    return "".join(p.decode("utf-8", "replace") if isinstance(p, bytes) else str(p) for p in parts)


def _check_parts(path: str, file: str, dataset: h5py.Dataset, *, labels: bool) -> None:
    """Raise `SourceError` if voxels are missing, since HDF5 reads them as the fill value.

    Parts that were never written are a warning, but for a truth.

    Parameters
    ----------
    path : str
        Used in error messages.
    file : str
        The file of the dataset.
    dataset : h5py.Dataset
        Open dataset. For a virtual dataset, the files are checked; for a chunked one, the chunks
        are counted.
    labels : bool
        Whether it is a truth that nobody stated as complete.
    """
    if not math.prod(dataset.shape):
        return
    if dataset.is_virtual:
        _check_virtual(path, file, dataset, labels=labels)
        return
    for name, offset, size in dataset.external or ():
        part = Path(file).parent / os.fsdecode(name)
        if not part.is_file() or part.stat().st_size < offset + size:
            raise SourceError(
                f"{path} has its voxels in {part}, which is missing or too short: copy it again"
            )
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


def _check_virtual(path: str, file: str, dataset: h5py.Dataset, *, labels: bool) -> None:
    """Check that all parts of a virtual dataset are there, and that they cover all of it."""
    missing: set[str] = set()
    mapped = 0
    for source in dataset.virtual_sources():
        named = files_of_part(file, source.file_name)
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
        there = [
            name
            for name in named
            if "%" in source.dset_name
            or _check_part(path, name, source.dset_name, ends, needed, dataset, labels=labels)
        ]
        if not there:
            missing.add(source.file_name)
    if missing:
        raise SourceError(
            f"{path} refers to other files, of which {len(missing)} are missing or lack their "
            f"dataset: {', '.join(sorted(missing)[:10])}: copy them to the paths that it names"
        )
    if mapped < math.prod(dataset.shape):
        said = f"{mapped} of {math.prod(dataset.shape)} voxels are mapped to a file"
        _say_unwritten(path, dataset, said, labels=labels)


def _check_part(
    path: str,
    file: str,
    name: str,
    ends: tuple[int, ...],
    needed: int,
    whole: h5py.Dataset,
    *,
    labels: bool,
) -> bool:
    """Check the dataset of one part of a virtual dataset; return whether it exists."""
    with opened_file(file) as opened:
        part = opened.get(name)
        if not isinstance(part, h5py.Dataset):
            return False
        if part.file.filename == whole.file.filename and part.name == whole.name:
            return True
        if part.size < needed or any(e >= n for e, n in zip(ends, part.shape, strict=False)):
            raise SourceError(
                f"{path} needs more voxels of {file}:{name} than its shape {part.shape} has: write "
                "one of them again"
            )
        _check_parts(f"{file}:{name}", file, part, labels=labels)
    return True


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


class Dataset:
    """A dataset whose file is opened for each read, so that processes can share the object.

    Parameters
    ----------
    file, name : str
        Path of the file, and name of the dataset within it.
    dtype : dtype
        As stored.
    shape : tuple of int
        As stored.
    """

    def __init__(self, file: str, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self._file = file
        self._name = name

    def __getitem__(self, index: tuple[slice | int, ...]) -> Array:
        """Return the elements selected by one slice or integer per axis."""
        with opened_file(self._file) as opened:
            return np.asarray(opened[self._name][index])


def _no_dataset(file: str, dataset: str, opened: Any) -> str:
    names: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(f"{file}:{name} {item.shape} {item.dtype}")

    opened.visititems(note)
    problem = f"has no dataset {dataset!r}" if dataset else "needs the name of a dataset"
    return f"{file} {problem}: use one of {'; '.join(names[:20]) or 'another file, this is empty'}"
