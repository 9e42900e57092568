"""PNG images: one plane of a stack of slices, or a single-plane volume."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL.PngImagePlugin import PngImageFile

from parafovea.formats.codestreams import check_png
from parafovea.formats.location import Location
from parafovea.formats.source import (
    Array,
    Request,
    Source,
    StoredArray,
    VolumeView,
    pick_channel,
    readable,
)
from parafovea.formats.source_placement import Stated, place
from parafovea.formats.stored_values import ConvertedValues, of_palette
from parafovea.formats.unpacking import check_size

#: PNG modes whose pixels are numbers or palette indices; other modes are channels of uint8.
_DTYPES = {"1": "bool", "L": "uint8", "P": "uint8", "I;16": "uint16", "I": "int32"}

#: Place of the byte of a PNG file that holds the bits of a sample, before that of its colour type.
_DEPTH = 24
#: Channels of the colour types with several: RGB, gray and alpha, RGBA.
_CHANNELS = {2: 3, 4: 2, 6: 4}


def open_volume(location: Location, request: Request) -> Source:
    """Open one PNG file as a single-plane volume.

    Parameters
    ----------
    location : Location
        The file.
    request : Request
        User metadata; a PNG file never states a spacing.

    Raises
    ------
    SourceError
        If the file is damaged.
    """
    path = location.path
    view = open_plane(path, channel=request.metadata.channel, labels=request.labels)
    return Source(path, view, place(path, view.shape, Stated(), request.metadata))


def open_plane(path: str, *, channel: int | None, labels: bool = False) -> VolumeView:
    """Return the image (1, y, x) in a PNG file, for a stack of such files.

    Parameters
    ----------
    path : str
        The file.
    channel : int, optional
        Channel of a colour image.
    labels : bool
        Whether the pixels are class indices or object ids, to which no palette is applied. Those
        of 2 and 4 bits are read as stored; otherwise they are grays, of which the largest is 255.

    Raises
    ------
    SourceError
        If the file is damaged, or has a colour palette and `labels` is false.
    """
    with readable(path):
        image = PngImage(path)
    chosen = pick_channel(path, image.shape[2], channel)
    stored: StoredArray = image
    if labels and image.gray_step > 1:
        stored = ConvertedValues(image, image.dtype, lambda grays: grays // image.gray_step)
    palette = None if labels else palette_of(path)
    if palette is not None:
        stored = of_palette(image, np.frombuffer(palette, np.uint8).reshape(-1, 3), path)
    return VolumeView(stored, path, axes=(None, 0, 1), fixed={2: chosen})


def palette_of(path: str) -> bytes | None:
    """Return the palette of a PNG file, red, green and blue of each index, or None."""
    with readable(path), PngImageFile(path) as image:
        return bytes(image.getpalette("RGB") or b"") if image.mode == "P" else None


class PngImage:
    """The pixels of a PNG file, decoded in full for each read.

    Parameters
    ----------
    path : str
        The file; images with a palette are read as indices.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # The class itself, not Image.open: whole brain sections exceed the number of pixels that
        # Pillow treats as an attack.
        with PngImageFile(path) as image:
            width, height = image.size
            self.dtype: np.dtype[Any] = np.dtype(_DTYPES.get(image.mode, "uint8"))
            bands = len(image.getbands())
        with Path(path).open("rb") as file:
            depth, colour = file.read(_DEPTH + 2)[_DEPTH:]
        # Pillow keeps only 8 of 16 bits of an image with several channels
        self._is_deep = depth == 16 and colour in _CHANNELS
        if self._is_deep:
            self.dtype, bands = np.dtype(np.uint16), _CHANNELS[colour]
        # Pillow spreads grays of 2 and 4 bits over 0 to 255
        self.gray_step = {2: 85, 4: 17}.get(depth, 1) if colour == 0 else 1
        self.shape = (height, width, bands)
        check_size(path, math.prod(self.shape) * self.dtype.itemsize, "the image")

    def __getitem__(self, index: tuple[slice | int, ...]) -> Array:
        """Return the elements selected by slices and integers along y, x, channel."""
        data = Path(self._path).read_bytes()
        check_png(data)
        if self._is_deep:
            pixels: Array = imagecodecs.png_decode(data)
            return np.asarray(pixels.reshape(self.shape)[index])
        with PngImageFile(io.BytesIO(data)) as image:
            return np.asarray(image, dtype=self.dtype).reshape(self.shape)[index]
