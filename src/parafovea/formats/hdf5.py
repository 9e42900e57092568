"""HDF5 datasets, named as `file.h5:dataset`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.hdf5_parts import check_links, check_parts, opened_dataset, opened_file
from parafovea.formats.hdf5_virtual import read_part
from parafovea.formats.location import Location
from parafovea.formats.named_axes import chosen_axes, stated_names
from parafovea.formats.source import Array, Request, Source, StoredArray, VolumeView, readable
from parafovea.formats.source_placement import place, stated_by_attributes
from parafovea.formats.stored_values import by_attributes, without_sign

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
        are missing, or are in files outside of the folder of this one.
    """
    path, dataset, metadata = location.path, location.dataset, request.metadata
    file = location.files[0]
    with readable(path), opened_file(file) as opened:
        check_links(path, opened, dataset)
        found = opened.get(dataset) if dataset else None
        if not isinstance(found, h5py.Dataset):
            raise SourceError(_no_dataset(file, dataset, opened))
        shape = tuple(found.shape or ())
        dtype = np.dtype(found.dtype)
        attributes: Mapping[str, Any] = dict(found.attrs)
        labels_of_axes = _labels(found)
        scales = _scales(found)
        check_parts(path, found)
    others = {"labels of its dimensions": labels_of_axes, "scales of its dimensions": scales}
    letters = stated_names(attributes, dimensions=len(shape), path=path, others=others)
    axes, fixed = chosen_axes(path, letters, shape, metadata.channel)
    stated = stated_by_attributes(dict(attributes), dimensions=len(shape), path=path, axes=axes)
    stored: StoredArray = Dataset(file, dataset, dtype, shape)
    if _BIG_DATA_VIEWER.fullmatch(dataset) and dtype.kind == "i":
        stored = without_sign(stored)
    stored = by_attributes(stored, attributes, path, labels=request.labels)
    view = VolumeView(stored, path, axes=axes, fixed=fixed)
    return Source(path, view, place(path, view.shape, stated, metadata))


def _labels(dataset: h5py.Dataset) -> list[str] | None:
    """Return the labels of a dataset's dimensions, or None if it has none."""
    labels = [str(dimension.label) for dimension in dataset.dims]
    return labels if any(labels) else None


def _scales(dataset: h5py.Dataset) -> list[str] | None:
    """Return the names of the dataset's dimension scales, as used by netCDF, or None."""
    if not all(len(dimension) for dimension in dataset.dims) or not dataset.ndim:
        return None
    return [str(dimension[0].name).rpartition("/")[2] for dimension in dataset.dims]


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
            return read_part(opened_dataset(opened, self._name), index)


def _no_dataset(file: str, dataset: str, opened: Any) -> str:
    names: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(f"{file}:{name} {item.shape} {item.dtype}")

    opened.visititems(note)
    problem = f"has no dataset {dataset!r}" if dataset else "needs the name of a dataset"
    return f"{file} {problem}: use one of {'; '.join(names[:20]) or 'another file, this is empty'}"
