"""What the headers of DICOM slices say; of the patient nothing is read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.filereader import read_partial
from pydicom.pixels import get_decoder
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from parafovea.errors import MissingSourceError, SourceError
from parafovea.readers.dicom import codecs
from parafovea.readers.dicom.contents import SUFFIXES, Contents
from parafovea.readers.source import readable

# Scanners write numbers and names that break the standard's rules of spelling; a warning for each
# slice tells nobody anything.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
codecs.register()

#: All that is read of a header. No name, id, date or description of a patient is among them.
_TAGS = tuple(
    Tag(name)
    for name in (
        "SOPClassUID",
        "Modality",
        "SeriesInstanceUID",
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
        "PixelRepresentation",
        "RescaleIntercept",
        "RescaleSlope",
    )
)
_PIXELS = Tag("PixelData")
#: Transfer syntaxes in which pixels lie in the file as they are.
_PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """One slice, as its header describes it.

    Parameters
    ----------
    name : str
        Of the file in its folder or archive.
    label : str
        How messages call the file.
    series, modality : str
        SeriesInstanceUID and Modality.
    shape : tuple of int
        Rows and columns.
    position : tuple of float
        Centre of the first pixel, LPS millimetres.
    row, column : tuple of float
        Directions in which the column index and the row index grow.
    pixel_spacing : tuple of float or None
        Distance between rows and between columns, in millimetres; None where nothing usable is
        stated.
    thickness : float or None
        Distance between slices, or their thickness, as stated; of use to a single slice only.
    slope, intercept : float
        From stored values to those that are meant.
    stored_range : tuple of int
        Smallest and largest value that the stored bits can hold.
    syntax : str
        Transfer syntax, by which pixels are decoded.
    """

    name: str
    label: str
    series: str
    modality: str
    shape: tuple[int, int]
    position: Point
    row: Point
    column: Point
    pixel_spacing: tuple[float, float] | None
    thickness: float | None
    slope: float
    intercept: float
    stored_range: tuple[int, int]
    syntax: str


def read_headers(contents: Contents, *, series: str | None = None) -> list[SliceHeader]:
    """Return the slices of one series; what is no image is left out.

    Parameters
    ----------
    contents : Contents
        A folder or an archive.
    series : str, optional
        SeriesInstanceUID of the wanted one; needed where there are several.

    Returns
    -------
    list of SliceHeader
        In the order of the files' names.

    Raises
    ------
    MissingSourceError
        If there is no slice.
    SourceError
        If a slice is damaged, truncated, compressed in an unknown way or not described well
        enough; or if there are several series and nobody says which.
    """
    images: dict[str, list[_Image]] = {}
    others: list[str] = []
    with contents.opened() as open_file, warnings.catch_warnings():
        # about files that are no DICOM in spite of their names; errors follow
        warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")
        for name in contents.sizes:
            with open_file(name) as file:
                found = _image(file, name, contents)
            if isinstance(found, str):
                others.append(found)
            elif found is not None:
                images.setdefault(found.series, []).append(found)
    if not images:
        held = f": its {len(others)} DICOM files are {_listed(others)}" if others else ""
        raise MissingSourceError(
            f"{contents.path} holds no DICOM slice{held}: give the folder or archive of a series"
        )
    return [image.described() for image in _chosen(contents.path, images, series)]


@dataclass(frozen=True)
class _Image:
    """An image file: the wanted elements of its header, and how much of its pixels is there."""

    name: str
    label: str
    header: Any
    pixel_bytes: int | None
    """Bytes of pixels in the file; None where they are compressed."""

    @property
    def series(self) -> str:
        return str(self.header.get("SeriesInstanceUID", "")).strip()

    def described(self) -> SliceHeader:
        """Return the slice, or raise `SourceError` where it is none."""
        header = self.header
        self._check_kind()
        rows, columns = (int(self._required(key)) for key in ("Rows", "Columns"))
        bits = int(self._required("BitsAllocated"))
        needed = rows * columns * bits // 8
        if self.pixel_bytes is not None and self.pixel_bytes < needed:
            raise SourceError(
                f"{self.label} is truncated: it holds {self.pixel_bytes} of {needed} bytes of "
                "pixels: copy it again"
            )
        with readable(self.label):
            stored = int(header.get("BitsStored", bits))
            signed = bool(header.get("PixelRepresentation", 0))
            orientation = self._numbers("ImageOrientationPatient", 6)
            slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
            return SliceHeader(
                name=self.name,
                label=self.label,
                series=self.series,
                modality=str(header.get("Modality", "")),
                shape=(rows, columns),
                position=_point(self._numbers("ImagePositionPatient", 3)),
                row=_point(orientation[:3]),
                column=_point(orientation[3:]),
                pixel_spacing=self._pixel_spacing(),
                thickness=self._thickness(),
                slope=1.0 if slope is None else float(slope),
                intercept=0.0 if intercept is None else float(intercept),
                stored_range=(-(2 ** (stored - 1)), 2 ** (stored - 1) - 1)
                if signed
                else (0, 2**stored - 1),
                syntax=_syntax(header),
            )

    def _check_kind(self) -> None:
        header = self.header
        samples = int(header.get("SamplesPerPixel") or 1)
        frames = int(header.get("NumberOfFrames") or 1)
        if samples != 1 or "PALETTE" in str(header.get("PhotometricInterpretation", "")):
            raise SourceError(
                f"{self.label} is a colour image ({header.get('PhotometricInterpretation')}), not "
                "a slice of a scan: remove it"
            )
        if frames != 1:
            raise SourceError(
                f"{self.label} holds {frames} frames in one file, where a file a slice is read: "
                "export the series as single slices, or convert it to NIfTI"
            )
        syntax = _syntax(header)
        try:
            decodable = get_decoder(syntax).is_available
        except NotImplementedError:
            decodable = False
        if not decodable:
            raise SourceError(
                f"{self.label} is compressed as {UID(syntax).name} ({syntax}), for which there is "
                "no decoder here: export the series without compression, or convert it with "
                "`gdcmconv --raw`"
            )

    def _required(self, key: str) -> Any:
        value = self.header.get(key)
        if value is None or value == "":
            raise SourceError(
                f"{self.label} does not state {key}: it is no slice of a scan, or damaged; remove "
                "it or export the series again"
            )
        return value

    def _numbers(self, key: str, count: int) -> list[float]:
        values = [float(v) for v in self._required(key)]
        if len(values) != count:
            raise SourceError(
                f"{self.label} states {len(values)} numbers for {key}, not {count}: export the "
                "series again"
            )
        return values

    def _pixel_spacing(self) -> tuple[float, float] | None:
        values = self.header.get("PixelSpacing")
        if values is None or values == "" or len(values) != 2:
            return None
        y, x = (float(v) for v in values)
        return (y, x) if y > 0 and x > 0 else None

    def _thickness(self) -> float | None:
        for key in ("SpacingBetweenSlices", "SliceThickness"):
            value = self.header.get(key)
            if value not in (None, "") and float(value) > 0:
                return float(value)
        return None


def _image(file: BinaryIO, name: str, contents: Contents) -> _Image | str | None:
    """Return an image, the kind of another DICOM object, or None for what is not DICOM."""
    label = contents.label(name)
    with readable(label, pydicom.errors.InvalidDicomError):
        named = name.lower().endswith(SUFFIXES)
        if file.read(132)[128:] != b"DICM" and not named:
            return None
        file.seek(0)
        pixels: list[int] = []

        def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
            if tag == _PIXELS:
                # the value follows tag and length, and the type where it is spelled out
                pixels.append(length)
                pixels.append(8 if vr is None else 12)
            return bool(tag >= _PIXELS)

        header = read_partial(file, stop_when=at_pixels, force=named, specific_tags=list(_TAGS))
        kind = UID(
            header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""
        )
        if kind and not kind.name.endswith("Image Storage"):
            return str(kind.name).removesuffix(" Storage")
        if not pixels:
            raise SourceError(
                f"{label} has no pixels: it is no image, or truncated; remove it or copy it again"
            )
        held = None
        if _syntax(header) in _PLAIN:
            held = min(pixels[0], contents.sizes[name] - file.tell() - pixels[1])
        return _Image(name, label, header, held)


def _syntax(header: Any) -> str:
    """Return the transfer syntax; files from before 1995 do not state theirs, but it shows."""
    implicit, little = header.original_encoding
    shown = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return str(header.file_meta.get("TransferSyntaxUID", shown if little else ExplicitVRBigEndian))


def _chosen(path: str, images: dict[str, list[_Image]], series: str | None) -> Sequence[_Image]:
    listed = "; ".join(
        f"{uid or 'without a SeriesInstanceUID'} ({_counted(found)})"
        for uid, found in list(images.items())[:8]
    )
    if series is not None:
        if series in images:
            return images[series]
        raise SourceError(f"{path} holds no series {series}: it holds {listed}")
    if len(images) > 1:
        raise SourceError(
            f"{path} holds {len(images)} series: write series=UID in the metadata column of its "
            f"line in the sample sheet, with one of {listed}"
        )
    return next(iter(images.values()))


def _counted(images: Sequence[_Image]) -> str:
    first = images[0].header
    size = f"{first.get('Columns', '?')} x {first.get('Rows', '?')}"
    slices = "1 slice" if len(images) == 1 else f"{len(images)} slices"
    return f"{slices} of {size}, {first.get('Modality', 'no modality')}, as {images[0].label}"


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(kinds))


def _point(values: Sequence[float]) -> Point:
    x, y, z = values
    return x, y, z
