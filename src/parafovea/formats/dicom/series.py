"""A DICOM series as a lazy volume: folder or zip archive, sorted by position."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.codestreams import check_codestream
from parafovea.formats.dicom.contents import (
    Contents,
    FileContents,
    FolderContents,
    OpenFile,
    ZipContents,
)
from parafovea.formats.dicom.deflated import inflated
from parafovea.formats.dicom.headers import SliceHeader
from parafovea.formats.dicom.selection import log_once, read_headers
from parafovea.formats.dicom.stacking import doubts, stack
from parafovea.formats.location import Location
from parafovea.formats.metadata.source_metadata import SourceMetadata
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
    """Open a series of DICOM slices: one per file, or frames of enhanced images.

    Parameters
    ----------
    location : Location
        A folder, searched recursively, a .zip of one, or one enhanced image. Objects that are
        not images, such as RTSTRUCT, are skipped.
    request : Request
        The user's `series` selects one of several, see also `slices_of`. A user spacing changes
        the grid and, relative to the first slice, the affine.

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
    contents = contents_of(path)
    with readable(path):
        slices, volumes = slices_of(contents, metadata)
        found = stack(path, slices)
    for doubt in doubts(found):
        log_once(f"{path}: {doubt}")
    array = DicomVolume(contents, found.slices)
    stated = Stated(found.spacing, "millimeter")
    try:
        grid = place(path, array.shape, stated, metadata)
    except SpacingError as error:
        if None in found.spacing[1:]:
            error.add_note(f"{found.slices[0].label} has no valid PixelSpacing")
        raise
    affine = found.affine(grid.converted("millimeter").spacing)
    affine = placed_affine(path, affine, grid, stated, metadata)
    return Source(
        path,
        array,
        grid,
        affine=affine,
        series=found.slices[0].series,
        channel_names=("",) * volumes,
    )


def contents_of(path: str) -> Contents:
    """Return the files of a folder or archive, or one file as it is."""
    if path.lower().endswith(".zip"):
        return ZipContents(path)
    return FolderContents(path) if Path(path).is_dir() else FileContents(path)


def slices_of(contents: Contents, metadata: SourceMetadata) -> tuple[list[SliceHeader], int]:
    """Return the slices that the user's metadata select, and the number of volumes in the series.

    Parameters
    ----------
    contents : Contents
        A folder or an archive.
    metadata : SourceMetadata
        Its `series` selects one of several, and its `channel` one of the volumes that the frames of
        a series form: stacks, points in time, kinds of frames.

    Raises
    ------
    SourceError
        As `read_headers`, and if there are several volumes and none is selected.
    """
    slices = read_headers(contents, series=metadata.series)
    volumes: dict[tuple[tuple[str, str], ...], list[SliceHeader]] = {}
    for each in slices:
        volumes.setdefault(each.volume, []).append(each)
    if len(volumes) > 1 and metadata.channel is None:
        listed = "; ".join(
            f"channel={k} for {_volume_name(volume, volumes)} ({len(found)} frames)"
            for k, (volume, found) in enumerate(volumes.items())
        )
        raise SourceError(
            f"{contents.path} holds {len(volumes)} volumes in its frames: write one of {listed} in "
            "the metadata column of its line in the sample sheet"
        )
    chosen = pick_channel(contents.path, len(volumes), metadata.channel)
    return list(volumes.values())[chosen], len(volumes)


def _volume_name(
    volume: tuple[tuple[str, str], ...], volumes: Iterable[tuple[tuple[str, str], ...]]
) -> str:
    """Return what tells a volume from the others."""
    common = set.intersection(*map(set, volumes))
    own = [f"{name} {value}" for name, value in volume if (name, value) not in common]
    return ", ".join(own) or "the frames without these"


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
            for k, plane in self._planes(open_file, range(z.start, z.stop)):
                out[k - z.start] = plane[y, x]
        return out

    def _planes(self, open_file: OpenFile, wanted: range) -> Iterator[tuple[int, Array]]:
        """Yield slices with their index, in any order: the frames of a file in that of the file."""
        frames: dict[str, list[int]] = {}
        for k in wanted:
            header, plane = self._slices[k], self._kept.get(k)
            if plane is None and header.frames > 1:
                frames.setdefault(header.name, []).append(k)
                continue
            yield k, self._keeping(k, self._decoded(open_file, header)) if plane is None else plane
        for name, those in frames.items():
            by_frame = {self._slices[k].frame: k for k in those}
            with open_file(name) as file:
                for frame, stored in _decoded_frames(file, [self._slices[k] for k in those]):
                    k = by_frame[frame]
                    with readable(self._slices[k].label):
                        yield k, self._keeping(k, self._values(stored, self._slices[k]))

    def _keeping(self, k: int, plane: Array) -> Array:
        while len(self._kept) >= self._keep:
            self._kept.popitem(last=False)
        self._kept[k] = plane
        return plane

    def _decoded(self, open_file: OpenFile, header: SliceHeader) -> Array:
        with readable(header.label), open_file(header.name) as file:
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
            return self._values(stored, header)

    def _values(self, stored: Array, header: SliceHeader) -> Array:
        """Return the values of a decoded slice, rescaled, with air outside of the image."""
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


def _decoded_frames(file: BinaryIO, wanted: list[SliceHeader]) -> Iterator[tuple[int, Array]]:
    """Yield frames of a file with their index, as stored, in the order of the file.

    The file is read once from its beginning, since a member of an archive cannot be read backwards.
    """
    first = wanted[0]
    plain, syntax = file, first.syntax
    if syntax == DeflatedExplicitVRLittleEndian:
        limit = 8 * first.frames * math.prod(first.shape) + LARGEST_EXTENSION
        plain, syntax = inflated(file, limit, whole=True) or file, ExplicitVRLittleEndian
    decoder = get_decoder(UID(syntax))
    options: dict[str, Any] = {
        "rows": first.shape[0],
        "columns": first.shape[1],
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_representation": int(first.signed),
        "bits_allocated": first.allocated,
        "bits_stored": first.bits,
        "pixel_keyword": "PixelData",
        "pixel_vr": "OW" if first.allocated > 8 else "OB",
    }
    for frame, data in _frame_bytes(plain, wanted):
        yield (
            frame,
            decoder.as_array(data, raw=True, correct_unused_bits=False, **options)[0],
        )


def _frame_bytes(file: BinaryIO, wanted: list[SliceHeader]) -> Iterator[tuple[int, bytes]]:
    """Yield the bytes of frames with their index, each as the pixel data of a file of one slice."""
    first, frames = wanted[0], {each.frame for each in wanted}
    file.seek(first.pixels_at)
    if not UID(first.syntax).is_encapsulated:
        size = math.prod(first.shape) * first.allocated // 8
        for frame in sorted(frames):
            file.seek(first.pixels_at + frame * size)
            yield frame, file.read(size)
        return
    found = generate_frames(file, number_of_frames=first.frames)
    for frame, data in zip(range(max(frames) + 1), found, strict=False):
        if frame in frames:
            check_codestream(data, *first.shape)
            yield frame, encapsulate([data])


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
