"""HDF5 datasets, named as `file.h5:dataset`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.coordinates import Coordinates, by_coordinates, coordinates_of
from parafovea.formats.hdf5.dataset_chunks import check_chunking
from parafovea.formats.hdf5.dataset_parts import (
    check_links,
    check_parts,
    opened_dataset,
    opened_file,
)
from parafovea.formats.hdf5.virtual_datasets import read_part
from parafovea.formats.location import Location
from parafovea.formats.named_axes import chosen_axes, stated_names
from parafovea.formats.source import Array, Request, Source, StoredArray, VolumeView, readable
from parafovea.formats.source_placement import (
    Stated,
    place,
    stated_by_attributes,
    stated_by_axis,
)
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
        of_group = _axes_of_group(found)
        beside = _coordinates(path, found)
        cut, imaris = _imaris(opened, found)
        check_parts(path, found, labels=request.refuses_holes)
    others = {
        "labels of its dimensions": labels_of_axes,
        "scales of its dimensions": scales,
        "axes of its group": of_group,
    }
    letters = stated_names(attributes, dimensions=len(shape), path=path, others=others)
    if letters is None and "MATLAB_class" in attributes:
        raise SourceError(
            f"{path} was written by MATLAB, which stores dimensions in reverse, and does not say "
            "which of them are z, y and x: name them, for example in Python with h5py: "
            'dataset.dims[0].label = "z", and so on in the order of dataset.shape'
        )
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


def _axes_of_group(dataset: h5py.Dataset) -> list[str] | None:
    """Return the names of the axes of the signal of a NeXus group, or None for other datasets."""
    words = dataset.parent.attrs
    if "axes" not in words or "signal" not in words:
        return None
    signal, *axes = (
        each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each)
        for each in (words["signal"], *np.atleast_1d(words["axes"]).tolist())
    )
    return axes if str(dataset.name).rpartition("/")[2] == signal else None


def _checked(path: str, scale: h5py.Dataset) -> Array:
    """Return the coordinates along an axis."""
    check_chunking(path, scale)
    return read_part(scale, (slice(None),))


def _coordinates(path: str, dataset: h5py.Dataset) -> list[Coordinates | None]:
    """Return the coordinates of a dataset along its axes, from its scales or those of NeXus."""
    found: list[Coordinates | None] = []
    named = _axes_of_group(dataset) or []
    beside = [dataset.parent.get(name) for name in named if name != "."]
    if len(beside) != dataset.ndim:
        beside = [None] * dataset.ndim
    for dimension, length, other in zip(dataset.dims, dataset.shape, beside, strict=True):
        scale = dimension[0] if len(dimension) else other
        if (
            not isinstance(scale, h5py.Dataset)
            or scale.shape != (length,)
            or scale.dtype.kind not in "iuf"
            or scale.is_virtual
            or scale.external
        ):
            found.append(None)
        else:
            found.append(coordinates_of(_checked(path, scale), dict(scale.attrs), length=length))
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
