"""A DICOM series as a lazy volume: folder or zip archive, sorted by position."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from parafovea.errors import SourceError
from parafovea.formats.codestreams import check_codestream
from parafovea.formats.dicom.contents import Contents, FolderContents, OpenFile, ZipContents
from parafovea.formats.dicom.deflated import inflated
from parafovea.formats.dicom.headers import SliceHeader
from parafovea.formats.dicom.selection import read_headers
from parafovea.formats.dicom.stacking import stack
from parafovea.formats.location import Location
from parafovea.formats.source import (
    Array,
    Request,
    Slices,
    Source,
    bounded,
    pick_channel,
    readable,
)
from parafovea.formats.source_placement import Stated, place, placed_affine
from parafovea.formats.unpacking import LARGEST_EXTENSION

#: Transfer syntaxes that preserve the bits of a stored value and their positions.
_AS_STORED = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)

#: Size in bytes of the cache of decoded slices, which adjacent boxes share.
KEPT_BYTES = 64 * 2**20


def open_volume(location: Location, request: Request) -> Source:
    """Open a series of DICOM slices, one per file.

    Parameters
    ----------
    location : Location
        A folder, searched recursively, or a .zip of one. Objects that are not images, such as
        RTSTRUCT, are skipped.
    request : Request
        The user's `series` selects one of several. A user spacing changes the grid and, relative
        to the first slice, the affine.

    Returns
    -------
    Source
        Slices sorted along their normal; values rescaled by the slope and intercept of each slice,
        in the narrowest of int16, int32 and float32 that represents them exactly. Bits that are
        not part of a value are cleared, and pixels outside of the image (PixelPaddingValue and its
        range) become air.

    Raises
    ------
    MissingSourceError
        If there is no slice.
    SourceError
        If slices are damaged, truncated, missing, duplicated or inconsistent, if they cannot be
        decoded, or if there are several series and none is selected.
    """
    path, metadata = location.path, request.metadata
    zipped = path.lower().endswith(".zip")
    contents: Contents = ZipContents(path) if zipped else FolderContents(path)
    pick_channel(path, 1, metadata.channel)
    with readable(path):
        found = stack(path, read_headers(contents, series=metadata.series))
    array = DicomVolume(contents, found.slices)
    stated = Stated(found.spacing, "millimeter")
    grid = place(path, array.shape, stated, metadata)
    affine = found.affine(grid.converted("millimeter").spacing)
    affine = placed_affine(path, affine, grid, stated, metadata)
    return Source(path, array, grid, affine=affine, series=found.slices[0].series)


class DicomVolume:
    """The voxels (z, y, x) of a series, decoded slice by slice on demand.

    Parameters
    ----------
    contents : Contents
        Folder or archive with the files.
    slices : sequence of SliceHeader
        Slices in z order, all of the same size.
    """

    def __init__(self, contents: Contents, slices: tuple[SliceHeader, ...]) -> None:
        self._contents = contents
        self._slices = slices
        self.shape = (len(slices), *slices[0].shape)
        self.dtype = _value_dtype(slices)
        self._kept: OrderedDict[int, Array] = OrderedDict()
        plane = self.shape[1] * self.shape[2] * self.dtype.itemsize
        self._keep = max(1, KEPT_BYTES // max(1, plane))

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1, (z, y, x)."""
        z, y, x = bounded(index, self.shape)
        out = np.empty([s.stop - s.start for s in (z, y, x)], self.dtype)
        with (
            readable(self._contents.path),
            self._contents.opened() as open_file,
        ):
            for row, k in enumerate(range(z.start, z.stop)):
                out[row] = self._plane(open_file, k)[y, x]
        return out

    def _plane(self, open_file: OpenFile, k: int) -> Array:
        plane = self._kept.get(k)
        if plane is None:
            plane = self._decoded(open_file, self._slices[k])
            while len(self._kept) >= self._keep:
                self._kept.popitem(last=False)
            self._kept[k] = plane
        return plane

    def _decoded(self, open_file: OpenFile, header: SliceHeader) -> Array:
        with (
            readable(header.label),
            open_file(header.name) as file,
        ):
            plain, syntax = file, header.syntax
            if syntax == DeflatedExplicitVRLittleEndian:
                limit = 8 * math.prod(header.shape) + LARGEST_EXTENSION
                plain = inflated(file, limit, whole=True) or file
                syntax = ExplicitVRLittleEndian
            elif UID(syntax).is_encapsulated:
                _check_compressed(file, header)
            # without the other elements of the file
            stored: Array = pixel_array(
                plain, raw=True, transfer_syntax_uid=syntax, correct_unused_bits=False
            )
            if stored.shape != header.shape:
                raise SourceError(
                    f"{header.label} gave {stored.shape} pixels instead of {header.shape}: "
                    "copy it again"
                )
            values = _without_unused_bits(stored, header)
            if (header.slope, header.intercept) == (1.0, 0.0):
                scaled = values.astype(self.dtype)
            else:
                scaled = (values * np.float64(header.slope) + header.intercept).astype(self.dtype)
            if header.air is not None and header.padding is not None:
                low, high = header.padding
                outside = (values >= low) & (values <= high)
                if values is not stored:
                    outside |= (stored >= low) & (stored <= high)
                scaled[outside] = header.air
            return scaled


def _check_compressed(file: BinaryIO, header: SliceHeader) -> None:
    """Raise `ValueError` if a compressed image is cut short, or far larger than its header says."""
    pixels = dcmread(file, specific_tags=["PixelData"]).PixelData
    check_codestream(next(generate_frames(pixels, number_of_frames=1), b""), *header.shape)
    file.seek(0)


def _without_unused_bits(stored: Array, header: SliceHeader) -> Array:
    """Return stored values with unused bits cleared and the sign extended.

    Unused bits may contain overlays, or lack the sign, which some codecs do not support.
    """
    width = 8 * stored.dtype.itemsize
    if stored.dtype.kind not in "iu" or header.bits >= width:
        return stored
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    bits = native.view(f"u{stored.dtype.itemsize}")
    if header.syntax in _AS_STORED:
        bits = bits >> (header.high_bit + 1 - header.bits)
    # shifts the bits above the value out, and extends the sign from its highest bit
    spare = width - header.bits
    shifted: Array = (bits << spare).view(f"{'i' if header.signed else 'u'}{bits.dtype.itemsize}")
    return np.asarray(shifted >> spare)


def _value_dtype(slices: tuple[SliceHeader, ...]) -> np.dtype[Any]:
    # the value of air of a slice is integral, or equal to its intercept
    whole = all(s.slope.is_integer() and s.intercept.is_integer() for s in slices)
    ends = [v * s.slope + s.intercept for s in slices for v in s.stored_range]
    ends += [s.air for s in slices if s.air is not None]
    for name in ("int16", "int32"):
        limits = np.iinfo(name)
        if whole and limits.min <= min(ends) and max(ends) <= limits.max:
            return np.dtype(name)
    return np.dtype(np.float32)
