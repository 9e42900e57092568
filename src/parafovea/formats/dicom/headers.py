"""The header of a DICOM image, checked: a slice of a scan, or one error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from parafovea.errors import SourceError
from parafovea.formats.dicom import codecs
from parafovea.formats.source import readable

codecs.register()

Point = tuple[float, float, float]

#: Air in Hounsfield units, and what scanners that count from -1024 write for it.
AIR = -1000.0
DARKEST_AIR = -1024.0


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
        From stored values to the true ones.
    rescale_stated : frozenset of str
        Which of RescaleSlope and RescaleIntercept the header has.
    rescale_type : str
        What rescaled values are, such as HU; "" where that is not stated.
    bits, high_bit : int
        How many bits of a stored value count, and which of them is the highest.
    signed : bool
        Whether stored values have a sign.
    padding : tuple of int or None
        Smallest and largest stored value that marks pixels outside of the image; None without.
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
    rescale_stated: frozenset[str]
    rescale_type: str
    bits: int
    high_bit: int
    signed: bool
    padding: tuple[int, int] | None
    syntax: str

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest value that the stored bits can hold."""
        if self.signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1

    @property
    def air(self) -> float | None:
        """What pixels outside of the image become; None where they are air as they are stored.

        -1000 HU in a CT; elsewhere what a stored 0 means, no signal.
        """
        if self.padding is None:
            return None
        if self.modality != "CT" or self.rescale_type not in ("", "HU"):
            return self.intercept
        ends = [value * self.slope + self.intercept for value in self.padding]
        return None if all(DARKEST_AIR <= end <= AIR for end in ends) else AIR


@dataclass(frozen=True)
class ImageHeader:
    """An image file: the wanted elements of its header, and how much of its pixels is there.

    Parameters
    ----------
    name, label : str
        As for `SliceHeader`.
    header : pydicom.FileDataset
        The elements that were read.
    pixel_bytes : int or None
        Bytes of pixels in the file; None where they are compressed.
    """

    name: str
    label: str
    header: Any
    pixel_bytes: int | None

    @property
    def series(self) -> str:
        """SeriesInstanceUID, empty where there is none."""
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
            slope = self._number("RescaleSlope", 1.0)
            if slope == 0:
                raise SourceError(
                    f"{self.label} states RescaleSlope 0, which leaves no values: export the "
                    "series again"
                )
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
                slope=slope,
                intercept=self._number("RescaleIntercept", 0.0),
                rescale_stated=frozenset(
                    key
                    for key in ("RescaleSlope", "RescaleIntercept")
                    if header.get(key) not in (None, "")
                ),
                rescale_type=str(header.get("RescaleType") or "").strip(),
                bits=stored,
                high_bit=self._high_bit(bits, stored),
                signed=signed,
                padding=self._padding(bits, signed=signed),
                syntax=transfer_syntax(header),
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
        if "ModalityLUTSequence" in header:
            raise SourceError(
                f"{self.label} states its values by a table (ModalityLUTSequence), which is not "
                "read: export the series with RescaleSlope and RescaleIntercept"
            )
        syntax = transfer_syntax(header)
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

    def _number(self, key: str, default: float) -> float:
        value = self.header.get(key)
        return default if value is None or value == "" else float(value)

    def _numbers(self, key: str, count: int) -> list[float]:
        values = [float(v) for v in self._required(key)]
        if len(values) != count or not all(map(math.isfinite, values)):
            raise SourceError(
                f"{self.label} states {values} for {key}, not {count} finite numbers: export the "
                "series again"
            )
        return values

    def _high_bit(self, allocated: int, stored: int) -> int:
        high = int(self._number("HighBit", stored - 1))
        if not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
            raise SourceError(
                f"{self.label} states BitsStored {stored} and HighBit {high} for BitsAllocated "
                f"{allocated}, which do not fit each other: export the series again"
            )
        return high

    def _padding(self, allocated: int, *, signed: bool) -> tuple[int, int] | None:
        """Return the range of padding; writers state it with the sign of pixels or without."""
        ends = []
        for key in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            value = self.header.get(key)
            if value in (None, ""):
                break
            if isinstance(value, bytes):
                little = self.header.original_encoding[1]
                value = int.from_bytes(value, "little" if little else "big")
            number = int(value) % 2**allocated
            ends.append(number - 2**allocated if signed and number >> (allocated - 1) else number)
        return (min(ends), max(ends)) if ends else None

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


def transfer_syntax(header: Any) -> str:
    """Return the transfer syntax; files from before 1995 do not state theirs, but it shows."""
    implicit, little = header.original_encoding
    shown = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return str(header.file_meta.get("TransferSyntaxUID", shown if little else ExplicitVRBigEndian))


def _point(values: Sequence[float]) -> Point:
    x, y, z = values
    return x, y, z
