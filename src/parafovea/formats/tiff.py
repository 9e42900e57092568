"""TIFF stacks: what a file holds and where its voxels lie (the pages themselves: `tiff_pages`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from parafovea.errors import SourceError
from parafovea.formats.metadata import SourceMetadata
from parafovea.formats.placement import Stated, check_shape, place
from parafovea.formats.source import Source, StoredArray, VolumeView, pick_channel, readable
from parafovea.formats.tiff_pages import ContiguousTiff, PagedTiff, check_complete

#: Axes of tifffile that may count planes, the first of them that is longer than one is z. Many
#: programs write a stack as a time series or as unnamed pages.
_PLANES = "ZIQT"


def open_tiff(path: str, *, metadata: SourceMetadata) -> Source:
    """Open one TIFF file of one or many pages.

    Parameters
    ----------
    path : str
        Plain, ImageJ, OME or BigTIFF; the finest level where it is a pyramid.
    metadata : SourceMetadata
        From the user.

    Returns
    -------
    Source
        Memory-mapped where the voxels lie in one piece, else decoded by strip or tile.

    Raises
    ------
    SourceError
        If the file is damaged, or is not one volume.
    """
    view, stated = tiff_volume(path, channel=metadata.channel)
    return Source(path, view, place(path, view.shape, stated, metadata))


def tiff_volume(path: str, *, channel: int | None) -> tuple[VolumeView, Stated]:
    """Return the volume (z, y, x) in a TIFF file, and what the file says of its place."""
    with readable(path), tifffile.TiffFile(path) as tiff:
        check_complete(tiff, path)
        if len(tiff.series) != 1:
            raise SourceError(
                f"{path} holds {len(tiff.series)} images of different shapes or kinds: "
                "save the one to use as a file of its own"
            )
        series = tiff.series[0]
        pages = list(series.pages)
        if any(page is None or page.parent is not tiff for page in pages):
            raise SourceError(
                f"{path} is one file of an image that is spread over several: save it as one"
            )
        letters = series.get_axes(squeeze=False)
        shape = tuple(int(n) for n in series.get_shape(squeeze=False))
        axes, fixed = _choose_axes(path, letters, shape, channel)
        stored = _stored(path, tiff, series, shape)
        stated = _stated(tiff)
    view = VolumeView(stored, path, axes=axes, fixed=fixed)
    check_shape(path, view.shape)
    return view, stated


def _stored(path: str, tiff: Any, series: Any, shape: tuple[int, ...]) -> StoredArray:
    if series.dtype is None:
        raise SourceError(f"{path} has samples of a type that is not supported: write it as uint8")
    dtype = np.dtype(series.dtype)
    if series.dataoffset is not None:
        stored = ContiguousTiff(path, dtype.newbyteorder(tiff.byteorder), series.dataoffset, shape)
        if stored.stop > Path(path).stat().st_size:
            raise SourceError(
                f"{path} is truncated: {shape} voxels do not fit in it, copy it again"
            )
        return stored
    return PagedTiff(path, dtype, shape, [int(page.index) for page in series.pages])


def _choose_axes(
    path: str, letters: str, shape: Sequence[int], channel: int | None
) -> tuple[tuple[int | None, int, int], dict[int, int]]:
    """Return which axes are z, y, x, and which element of the others is read."""
    y, x = letters.rindex("Y"), letters.rindex("X")
    long = [axis for axis, n in enumerate(shape) if n != 1 and axis not in (y, x)]
    planes = sorted(
        (axis for axis in long if letters[axis] in _PLANES),
        key=lambda axis: _PLANES.index(letters[axis]),
    )
    channels = [axis for axis in long if letters[axis] in "CS"]
    rest = [axis for axis in long if axis not in planes[:1] + channels[:1]]
    if rest:
        raise SourceError(
            f"{path} has the shape {tuple(shape)} with the axes {letters}, which is more than "
            "z, y, x and channels: save one volume of it"
        )
    count = shape[channels[0]] if channels else 1
    if not planes and channels and letters[channels[0]] == "C" and channel is None:
        # tifffile.imwrite(..., imagej=True) labels a stack so where it is not told its axes.
        raise SourceError(
            f"{path} has {count} channels of one plane: write channel=0 (up to {count - 1}) in "
            "the metadata column of its line in the sample sheet; where they are the planes of a "
            "stack, save it again with the axes ZYX"
        )
    fixed = dict.fromkeys(channels, pick_channel(path, count, channel))
    return (planes[0] if planes else None, y, x), fixed


def _stated(tiff: Any) -> Stated:
    """Return the spacing that OME or ImageJ metadata state; bare resolution tags lack z."""
    if tiff.is_ome and tiff.ome_metadata:
        return _stated_by_ome(tiff.ome_metadata)
    if tiff.is_imagej and tiff.imagej_metadata:
        return _stated_by_imagej(tiff)
    return Stated()


def _stated_by_ome(xml: str) -> Stated:
    image = tifffile.xml2dict(xml)["OME"].get("Image", {})
    pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    # The schema's default unit is the micrometre.
    units = {str(pixels.get(f"PhysicalSize{name}Unit", "µm")) for name in "ZYX"}
    if len(units) > 1:
        return Stated()
    z, y, x = (_number(pixels.get(f"PhysicalSize{name}")) for name in "ZYX")
    return Stated((z, y, x), units.pop())


def _stated_by_imagej(tiff: Any) -> Stated:
    # ImageJ writes pixels per unit in the resolution tags, and the spacing of planes in its text.
    words = tiff.imagej_metadata
    unit = str(words.get("unit", "pixel"))
    if unit in ("pixel", "pixels", ""):
        return Stated()
    tags = tiff.pages.first.tags
    y, x = (_inverse(tags.valueof(f"{name}Resolution")) for name in "YX")
    return Stated((_number(words.get("spacing")), y, x), unit)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _inverse(rational: Any) -> float | None:
    if not isinstance(rational, tuple) or 0 in rational:
        return None
    return float(rational[1] / rational[0])
