"""Stacks of image files, a plane each: folders and patterns of TIFF or PNG slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL.PngImagePlugin import PngImageFile

from parafovea.errors import SourceError
from parafovea.formats.location import TIFF_SUFFIXES
from parafovea.formats.metadata import SourceMetadata
from parafovea.formats.placement import Stated, place
from parafovea.formats.source import (
    Array,
    LazyArray,
    Slices,
    Source,
    VolumeView,
    bounded,
    pick_channel,
    readable,
)
from parafovea.formats.tiff import tiff_volume

#: Pixels of the PNG modes that hold numbers or palette indices; other modes are channels of uint8.
_PNG_DTYPES = {"1": "bool", "L": "uint8", "P": "uint8", "I;16": "uint16", "I": "int32"}


def open_slices(path: str, files: Sequence[str], *, metadata: SourceMetadata) -> Source:
    """Open image files as the planes of one volume.

    Parameters
    ----------
    path : str
        As the user gave it.
    files : sequence of str
        TIFF or PNG, in the order of z.
    metadata : SourceMetadata
        From the user; slices never state a spacing along z.

    Returns
    -------
    Source
        A slice is read when a plane of it is asked for.

    Raises
    ------
    SourceError
        If a file is damaged, has several planes, or differs from the first.
    """
    planes = [_plane(file, metadata.channel) for file in files]
    for file, plane in zip(files, planes, strict=True):
        if plane.shape[0] != 1:
            raise SourceError(
                f"{file} has {plane.shape[0]} planes, where {path} takes one a file: "
                "give it alone, as a TIFF stack"
            )
        if plane.shape != planes[0].shape or plane.dtype != planes[0].dtype:
            raise SourceError(
                f"{file} is {_described(plane)}, but {files[0]} is {_described(planes[0])}: "
                "remove it from the slices or correct it"
            )
    stack = SliceStack(planes)
    return Source(path, stack, place(path, stack.shape, Stated(), metadata))


class SliceStack:
    """Planes (1, y, x) of one shape and dtype, put on top of each other.

    Parameters
    ----------
    planes : sequence of LazyArray
        In the order of z.
    """

    def __init__(self, planes: Sequence[LazyArray]) -> None:
        self._planes = planes
        self.shape = (len(planes), *planes[0].shape[1:])
        self.dtype = planes[0].dtype

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1, (z, y, x)."""
        z, y, x = bounded(index, self.shape)
        out = np.empty([s.stop - s.start for s in (z, y, x)], self.dtype)
        for k, plane in enumerate(self._planes[z]):
            out[k] = plane[slice(0, 1), y, x][0]
        return out


class PngImage:
    """The pixels of a PNG file, decoded whole for each read.

    Parameters
    ----------
    path : str
        The file; palette images give their indices.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # The class itself, not Image.open: whole sections of a brain are larger than the number
        # of pixels that Pillow takes for an attack.
        with PngImageFile(path) as image:
            width, height = image.size
            self.dtype: np.dtype[Any] = np.dtype(_PNG_DTYPES.get(image.mode, "uint8"))
            bands = len(image.getbands())
        self.shape = (height, width, bands)

    def __getitem__(self, index: tuple[slice | int, ...]) -> Array:
        """Return the elements of slices and integers along y, x, channel."""
        with PngImageFile(self._path) as image:
            return np.asarray(image, dtype=self.dtype).reshape(self.shape)[index]


def _plane(file: str, channel: int | None) -> LazyArray:
    if file.lower().endswith(TIFF_SUFFIXES):
        return tiff_volume(file, channel=channel)[0]
    with readable(file):
        stored = PngImage(file)
    chosen = pick_channel(file, stored.shape[2], channel)
    return VolumeView(stored, file, axes=(None, 0, 1), fixed={2: chosen})


def _described(plane: LazyArray) -> str:
    return f"{plane.shape[1]} x {plane.shape[2]} {plane.dtype}"
