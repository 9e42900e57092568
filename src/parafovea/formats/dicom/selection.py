"""Selection of the files in a folder or archive that are the slices of one series.

Only header elements needed to place and decode a slice are read, and no patient data.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from parafovea.errors import MissingSourceError, SourceError
from parafovea.formats.dicom.contents import GZIP, SUFFIXES, Contents, is_packed_dicom
from parafovea.formats.dicom.deflated import inflated
from parafovea.formats.dicom.frames import PER_FRAME, SHARED, has_frames
from parafovea.formats.dicom.headers import ImageHeader, SliceHeader, transfer_syntax
from parafovea.formats.source import readable
from parafovea.formats.unpacking import LARGEST_EXTENSION, LARGEST_SLICE
from parafovea.runtime.kept_objects import KeptObjects

_LOG = logging.getLogger(__name__)

# Scanners write numbers and names that violate the formatting rules of the standard; a warning for
# each slice would not be useful.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

#: The only header elements that are read. They include no name, id or date of a patient.
_TAGS = tuple(
    Tag(name)
    for name in (
        "SOPClassUID",
        "SOPInstanceUID",
        "Modality",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "InstanceNumber",
        "AcquisitionNumber",
        "ImagesInAcquisition",
        "SliceThickness",
        "SpacingBetweenSlices",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "PixelSpacing",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "ModalityLUTSequence",
        SHARED,
        PER_FRAME,
    )
)
_PIXELS = Tag("PixelData")
#: Beginning of the names of all kinds of objects of the standard.
_STANDARD = "1.2.840.10008."
#: Endings of archives that are no scan.
_ZIPPED_ZARR = (".zarr.zip", ".n5.zip")
#: Most pieces in which a header is read, a few for each element: enough for ten thousand frames.
MOST_PIECES = 2**22
#: Transfer syntaxes with uncompressed pixels.
_PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


#: The series that was read last: a scan is opened by several stages of one process.
_READ = KeptObjects(1)


def read_headers(contents: Contents, *, series: str | None = None) -> list[SliceHeader]:
    """Return the slices of one series; files that are not images are skipped, counted and logged.

    Parameters
    ----------
    contents : Contents
        A folder or an archive.
    series : str, optional
        SeriesInstanceUID of the wanted series; required if there are several.

    Returns
    -------
    list of SliceHeader
        Slices in the order of their file names.

    Raises
    ------
    MissingSourceError
        If there is no slice.
    SourceError
        If a slice is damaged, truncated, uses an unknown compression or lacks required elements,
        or a file named like a slice is not one; or if there are several series and none is
        selected.
    """
    asked = (contents.path, series)
    return list(_READ.get(asked, contents.path, lambda: _read_headers(contents, series)))


def _read_headers(contents: Contents, series: str | None) -> list[SliceHeader]:
    images: dict[str, list[ImageHeader]] = {}
    others: list[str] = []
    foreign: list[str] = []
    with contents.opened() as open_file, warnings.catch_warnings():
        # about files that are not DICOM despite their names; errors follow
        warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")
        for name in contents.sizes:
            with open_file(name) as file:
                found = _image(file, name, contents)
            if found is None:
                foreign.append(name)
            elif isinstance(found, str):
                others.append(found)
            else:
                images.setdefault(found.series, []).append(found)
    if not images:
        if contents.path.lower().endswith(_ZIPPED_ZARR) or "zarr.json" in contents.sizes:
            raise SourceError(
                f"{contents.path} is a Zarr in an archive, which is not read: unpack it and give "
                "the folder"
            )
        held = f" (other DICOM objects: {_listed(others)})" if others else ""
        raise MissingSourceError(
            f"{contents.path} contains no DICOM slice{held}: give the folder or archive of a series"
        )
    _check_foreign(contents, foreign, [i.name for found in images.values() for i in found])
    left_out = [*others, *["file that is not DICOM"] * len(foreign), *contents.left_out]
    if left_out:
        log_once(f"{contents.path}: {len(left_out)} left out: {_counts(left_out)}")
    chosen = _chosen(contents.path, images, series)
    return [each for image in chosen for each in image.described()]


def states_frames(contents: Contents) -> bool:
    """Return whether a file is an image that states the place of each of its frames.

    Parameters
    ----------
    contents : Contents
        One file.

    Raises
    ------
    SourceError
        If it is damaged.
    """
    (name,) = contents.sizes
    with contents.opened() as open_file, open_file(name) as file:
        if not file.read(1):
            return False
        file.seek(0)
        found = _image(file, name, contents)
    return isinstance(found, ImageHeader) and has_frames(found.header)


@lru_cache(maxsize=256)
def log_once(text: str) -> None:
    """Log a warning about a scan, once per process even if several stages open it."""
    _LOG.warning(text)


def _counts(names: Sequence[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in Counter(names).items())


def _check_foreign(contents: Contents, foreign: Sequence[str], slices: Sequence[str]) -> None:
    """Raise `SourceError` for a file that is named like a slice but is not DICOM."""
    patterns = {_pattern(name): name for name in slices}
    bare = next((name for name in slices if not _ending(name)), None)
    for name in foreign:
        like = patterns.get(_pattern(name))
        if like is None and not _ending(name) and re.search(r"\d", Path(name).name):
            like = bare
        if like is not None:
            raise SourceError(
                f"{contents.label(name)} is not a DICOM file, although it is named like the "
                f"slice {contents.label(like)}: it may be damaged; copy it again, or remove it"
            )


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def _ending(name: str) -> str:
    """Return the ending of a file name; the last number of a UID does not count as one."""
    ending = Path(name).suffix
    return ending if re.fullmatch(r"\.[A-Za-z]\w{0,7}", ending) else ""


def _image(file: BinaryIO, name: str, contents: Contents) -> ImageHeader | str | None:
    """Return an image, the kind of another DICOM object, or None for a file that is not DICOM."""
    label = contents.label(name)
    with readable(label):
        named = name.lower().endswith(SUFFIXES)
        head = file.read(132)
        if head[128:] != b"DICM" and not named:
            if head[:2] == GZIP and is_packed_dicom(file):
                raise SourceError(
                    f"{label} is a DICOM file that is compressed with gzip: unpack it, and others "
                    "like it, with gunzip"
                )
            return None
        unpacked = inflated(file, LARGEST_EXTENSION, whole=False)
        file = unpacked or file
        file.seek(0)
        pixels: list[int] = []

        def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
            if tag == _PIXELS:
                # the value follows tag and length, and the type if it is explicit
                pixels.append(length)
                pixels.append(8 if vr is None else 12)
            return bool(tag >= _PIXELS)

        header = read_partial(
            _Pieces(file), stop_when=at_pixels, force=named, specific_tags=list(_TAGS)
        )
        kind = UID(
            header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""
        )
        # a standard object without a known name is one whose name was cut off
        standard = kind.startswith(_STANDARD) or _STANDARD.startswith(kind)
        is_cut = standard and kind.name == kind and not pixels
        if kind and not kind.name.endswith("Image Storage") and not is_cut:
            return str(kind.name).removesuffix(" Storage")
        if not pixels:
            raise SourceError(
                f"{label} has no pixels: it is not an image, or it is truncated; remove it or "
                "copy it again"
            )
        if not has_frames(header) and contents.sizes[name] > LARGEST_SLICE:
            raise SourceError(
                f"{label} has {contents.sizes[name]} bytes, more than the {LARGEST_SLICE} that a "
                "slice may have: export the series again"
            )
        held, at = None, file.tell() + pixels[1]
        if unpacked is not None:
            header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        elif transfer_syntax(header) in _PLAIN:
            held = min(pixels[0], contents.sizes[name] - at)
        return ImageHeader(name, label, header, at, held)


class _Pieces:
    """A file whose reader gets an error after too many pieces.

    Zeros, which an archive holds gigabytes of in little room, are elements without a value.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MOST_PIECES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError("its header has far more elements than that of an image")
        return self._file.read(size)


def _chosen(
    path: str, images: dict[str, list[ImageHeader]], series: str | None
) -> Sequence[ImageHeader]:
    listed = "; ".join(
        f"{uid or 'without a SeriesInstanceUID'} ({_counted(found)})"
        for uid, found in list(images.items())[:8]
    )
    if series is not None:
        if series in images:
            return images[series]
        raise SourceError(f"{path} contains no series {series}: it contains {listed}")
    if len(images) > 1:
        raise SourceError(
            f"{path} contains {len(images)} series: write series=UID in the metadata column of "
            f"its line in the sample sheet, with one of {listed}"
        )
    return next(iter(images.values()))


def _counted(images: Sequence[ImageHeader]) -> str:
    first = images[0].header
    size = f"{first.get('Columns', '?')} x {first.get('Rows', '?')}"
    slices = "1 slice" if len(images) == 1 else f"{len(images)} slices"
    return f"{slices} of {size}, {first.get('Modality', 'no modality')}, as {images[0].label}"


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(kinds))
