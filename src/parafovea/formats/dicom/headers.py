"""Validated headers of DICOM images: a slice of a scan, or an error."""

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
from parafovea.formats.unpacking import LARGEST_SLICE, check_size

codecs.register()

Point = tuple[float, float, float]

#: Air in Hounsfield units, and the value used by scanners that count from -1024.
AIR = -1000.0
DARKEST_AIR = -1024.0


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """Header of one slice.

    Parameters
    ----------
    name : str
        Name of the file in its folder or archive.
    label : str
        Name of the file in messages.
    series, modality : str
        SeriesInstanceUID and Modality.
    shape : tuple of int
        Rows and columns.
    position : tuple of float
        Centre of the first pixel, LPS millimetres.
    row, column : tuple of float
        Directions of increasing column index and row index.
    pixel_spacing : tuple of float or None
        Distance between rows and between columns, in millimetres; None if no valid value is
        stated.
    thickness : float or None
        Distance between slices, or their thickness, as stated; only used for a single slice.
    slope, intercept : float
        From stored values to rescaled values.
    rescale_stated : frozenset of str
        Which of RescaleSlope and RescaleIntercept the header has.
    rescale_type : str
        Unit of rescaled values, such as HU; "" if it is not stated.
    bits, high_bit : int
        Number of bits used in a stored value, and position of the highest one.
    signed : bool
        Whether stored values are signed.
    padding : tuple of int or None
        Smallest and largest stored value that mark pixels outside of the image; None if unset.
    syntax : str
        Transfer syntax, which determines the decoder of the pixels.
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
        """Smallest and largest value that the stored bits can represent."""
        if self.signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1

    @property
    def air(self) -> float | None:
        """Value for pixels outside of the image; None if they already are air as stored.

        -1000 HU in a CT; otherwise the rescaled value of a stored 0, no signal.
        """
        if self.padding is None:
            return None
        if self.modality != "CT" or self.rescale_type not in ("", "HU"):
            return self.intercept
        ends = [value * self.slope + self.intercept for value in self.padding]
        return None if all(DARKEST_AIR <= end <= AIR for end in ends) else AIR


@dataclass(frozen=True)
class ImageHeader:
    """An image file: the required elements of its header, and the size of its pixel data.

    Parameters
    ----------
    name, label : str
        As for `SliceHeader`.
    header : pydicom.FileDataset
        The elements that were read.
    pixel_bytes : int or None
        Bytes of pixel data in the file; None if they are compressed.
    """

    name: str
    label: str
    header: Any
    pixel_bytes: int | None

    @property
    def series(self) -> str:
        """SeriesInstanceUID; empty if missing."""
        return str(self.header.get("SeriesInstanceUID", "")).strip()

    def described(self) -> SliceHeader:
        """Return the validated slice, or raise `SourceError`."""
        header = self.header
        self._check_kind()
        rows, columns = (int(self._required(key)) for key in ("Rows", "Columns"))
        bits = int(self._required("BitsAllocated"))
        needed = rows * columns * bits // 8
        check_size(self.label, needed, f"the image of {rows} x {columns}", LARGEST_SLICE)
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
                    f"{self.label} has RescaleSlope 0, which makes all values equal: export "
                    "the series again"
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
                f"{self.label} has {frames} frames in one file, but one file per slice is "
                "expected: export the series as single slices, or convert it to NIfTI"
            )
        if "ModalityLUTSequence" in header:
            raise SourceError(
                f"{self.label} maps its values through a lookup table (ModalityLUTSequence), "
                "which is not supported: export the series with RescaleSlope and RescaleIntercept"
            )
        syntax = transfer_syntax(header)
        try:
            decodable = get_decoder(syntax).is_available
        except NotImplementedError:
            decodable = False
        if not decodable:
            raise SourceError(
                f"{self.label} is compressed as {UID(syntax).name} ({syntax}), for which no "
                "decoder is available: export the series without compression, or convert it with "
                "`gdcmconv --raw`"
            )

    def _required(self, key: str) -> Any:
        value = self.header.get(key)
        if value is None or value == "":
            raise SourceError(
                f"{self.label} does not state {key}: it is not a slice of a scan, or it is "
                "damaged; remove it or export the series again"
            )
        return value

    def _number(self, key: str, default: float) -> float:
        value = self.header.get(key)
        return default if value is None or value == "" else float(value)

    def _numbers(self, key: str, count: int) -> list[float]:
        values = [float(v) for v in self._required(key)]
        if len(values) != count or not all(map(math.isfinite, values)):
            raise SourceError(
                f"{self.label} has {values} for {key}, not {count} finite numbers: export the "
                "series again"
            )
        return values

    def _high_bit(self, allocated: int, stored: int) -> int:
        high = int(self._number("HighBit", stored - 1))
        if not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
            raise SourceError(
                f"{self.label} has BitsStored {stored} and HighBit {high} for BitsAllocated "
                f"{allocated}, which are inconsistent: export the series again"
            )
        return high

    def _padding(self, allocated: int, *, signed: bool) -> tuple[int, int] | None:
        """Return the padding range; writers state it as signed or unsigned."""
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
    """Return the transfer syntax; for files from before 1995 without one, it is inferred."""
    implicit, little = header.original_encoding
    shown = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return str(header.file_meta.get("TransferSyntaxUID", shown if little else ExplicitVRBigEndian))


def _point(values: Sequence[float]) -> Point:
    x, y, z = values
    return x, y, z
