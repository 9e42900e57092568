"""HDF5 datasets, named as `file.h5:dataset`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.location import Location
from parafovea.formats.source import Array, Request, Source, VolumeView, pick_channel, readable
from parafovea.formats.source_placement import place, plain_axes, stated_by_attributes


def open_volume(location: Location, request: Request) -> Source:
    """Open a dataset of an HDF5 file.

    Parameters
    ----------
    location : Location
        The file, and the name of the dataset within it, of axes z, y, x or y, x.
    request : Request
        The user's metadata.

    Returns
    -------
    Source
        Spacing from the attributes `resolution`, `voxel_size`, `spacing` or `element_size_um`.

    Raises
    ------
    SourceError
        If the file is damaged, has no such dataset, or the dataset is no volume.
    """
    path, dataset, metadata = location.path, location.dataset, request.metadata
    file = location.files[0]
    with readable(path), _opened(file) as opened:
        found = opened.get(dataset) if dataset else None
        if not isinstance(found, h5py.Dataset):
            raise SourceError(_no_dataset(file, dataset, opened))
        shape = tuple(found.shape or ())
        dtype = np.dtype(found.dtype)
        attributes: Mapping[str, Any] = dict(found.attrs)
    axes = plain_axes(path, shape)
    pick_channel(path, 1, metadata.channel)
    stated = stated_by_attributes(dict(attributes), dimensions=len(shape), path=path)
    view = VolumeView(Dataset(file, dataset, dtype, shape), path, axes=axes)
    return Source(path, view, place(path, view.shape, stated, metadata))


class Dataset:
    """A dataset whose file is opened for each read, so that processes may share the object.

    Parameters
    ----------
    file, name : str
        The file, and the dataset within it.
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
        """Return the elements of slices and integers, one an axis."""
        with _opened(self._file) as opened:
            return np.asarray(opened[self._name][index])


def _opened(file: str) -> Any:
    # Many cluster file systems have no locks; a reader does without.
    return h5py.File(file, "r", locking="best-effort")


def _no_dataset(file: str, dataset: str, opened: Any) -> str:
    names: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(f"{file}:{name} {item.shape} {item.dtype}")

    opened.visititems(note)
    problem = f"has no dataset {dataset!r}" if dataset else "needs the name of a dataset"
    return f"{file} {problem}: use one of {'; '.join(names[:20]) or 'another file, this is empty'}"
