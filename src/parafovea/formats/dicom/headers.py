"""Validated headers of DICOM images: a slice of a scan, or an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from parafovea.errors import SourceError
from parafovea.formats.dicom import codecs
from parafovea.formats.dicom.frames import PER_FRAME, frame_elements, has_frames
from parafovea.formats.source import readable
from parafovea.formats.unpacking import LARGEST_SLICE, check_size

codecs.register()

Point = tuple[float, float, float]

#: Air in Hounsfield units, and the value used by scanners that count from -1024.
AIR = -1000.0
DARKEST_AIR = -1024.0


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """Header of one slice: a file, or a frame of one.

    Parameters
    ----------
    name : str
        Name of the file in its folder or archive.
    label : str
        Name of the file in messages, with the number of the frame.
    frame, frames : int
        Index of the frame in its file, and their number; 0 and 1 for a file of one slice.
    volume : tuple of (str, str)
        Names and values of the elements that tell the volumes of a file with frames apart.
    pixels_at : int
        Position of the pixel data in the file.
    series, modality : str
        SeriesInstanceUID and Modality.
    study, frame_of_reference, instance, instance_class : str
        StudyInstanceUID, FrameOfReferenceUID, SOPInstanceUID and SOPClassUID; "" if missing.
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
    allocated, bits, high_bit : int
        Number of bits of a stored value, number of those used, and position of the highest one.
    signed : bool
        Whether stored values are signed.
    padding : tuple of int or None
        Smallest and largest stored value that mark pixels outside of the image; None if unset.
    syntax : str
        Transfer syntax, which determines the decoder of the pixels.
    number, acquisition, acquired : int or None
        InstanceNumber, AcquisitionNumber and ImagesInAcquisition.
    """

    name: str
    label: str
    frame: int
    frames: int
    volume: tuple[tuple[str, str], ...]
    pixels_at: int
    series: str
    modality: str
    study: str
    frame_of_reference: str
    instance: str
    instance_class: str
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
    allocated: int
    bits: int
    high_bit: int
    signed: bool
    padding: tuple[int, int] | None
    syntax: str
    number: int | None
    acquisition: int | None
    acquired: int | None

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
    pixels_at : int
        Position of the pixel data in the file.
    pixel_bytes : int or None
        Bytes of pixel data in the file; None if they are compressed.
    """

    name: str
    label: str
    header: Any
    pixels_at: int
    pixel_bytes: int | None

    @property
    def series(self) -> str:
        """SeriesInstanceUID; empty if missing."""
        return self._uid("SeriesInstanceUID")

    @property
    def frames(self) -> int:
        """Number of frames; 1 unless it is stated."""
        return int(self.header.get("NumberOfFrames") or 1)

    def described(self) -> list[SliceHeader]:
        """Return the validated slices, one for each frame, or raise `SourceError`."""
        self._check_kind()
        self._check_pixels()
        if not has_frames(self.header):
            return [self._slice(0, ())]
        with readable(self.label):
            return [
                replace(self, label=self._frame_label(k), header=elements)._slice(
                    k, elements.volume
                )
                for k, elements in enumerate(frame_elements(self.label, self.header))
            ]

    def _frame_label(self, frame: int) -> str:
        return self.label if self.frames == 1 else f"{self.label} (frame {frame + 1})"

    def _check_pixels(self) -> None:
        """Raise `SourceError` if the file lacks bytes, or a frame of it would be too large."""
        rows, columns = (int(self._required(key)) for key in ("Rows", "Columns"))
        plane = rows * columns * int(self._required("BitsAllocated")) // 8
        check_size(self.label, plane, f"the image of {rows} x {columns}", LARGEST_SLICE)
        needed = self.frames * plane
        if self.pixel_bytes is not None and self.pixel_bytes < needed:
            raise SourceError(
                f"{self.label} is truncated: it holds {self.pixel_bytes} of {needed} bytes of "
                "pixels: copy it again"
            )

    def _slice(self, frame: int, volume: tuple[tuple[str, str], ...]) -> SliceHeader:
        header = self.header
        with readable(self.label):
            bits = int(self._required("BitsAllocated"))
            used = int(header.get("BitsStored", bits))
            signed = bool(header.get("PixelRepresentation", 0))
            orientation = self._numbers("ImageOrientationPatient", 6)
            slope = self._number("RescaleSlope", 1.0)
            if slope == 0:
                raise SourceError(
                    f"{self.label} has RescaleSlope 0, which makes all values equal: export "
                    "the series again"
                )
            stated = frozenset(
                key
                for key in ("RescaleSlope", "RescaleIntercept")
                if header.get(key) not in (None, "")
            )
            modality = str(header.get("Modality", ""))
            if modality == "CT" and not stated:
                raise SourceError(
                    f"{self.label} is a CT that states neither RescaleSlope nor RescaleIntercept, "
                    "so that its values need not be Hounsfield units: export the series again"
                )
            return SliceHeader(
                name=self.name,
                label=self.label,
                frame=frame,
                frames=self.frames,
                volume=volume,
                pixels_at=self.pixels_at,
                series=self.series,
                modality=modality,
                study=self._uid("StudyInstanceUID"),
                frame_of_reference=self._uid("FrameOfReferenceUID"),
                instance=self._uid("SOPInstanceUID"),
                instance_class=self._uid("SOPClassUID"),
                shape=(int(self._required("Rows")), int(self._required("Columns"))),
                position=_point(self._numbers("ImagePositionPatient", 3)),
                row=_point(orientation[:3]),
                column=_point(orientation[3:]),
                pixel_spacing=self._pixel_spacing(),
                thickness=self._thickness(),
                slope=slope,
                intercept=self._number("RescaleIntercept", 0.0),
                rescale_stated=stated,
                rescale_type=str(header.get("RescaleType") or "").strip(),
                allocated=bits,
                bits=used,
                high_bit=self._high_bit(bits, used),
                signed=signed,
                padding=self._padding(bits, signed=signed),
                syntax=transfer_syntax(header),
                number=self._whole("InstanceNumber"),
                acquisition=self._whole("AcquisitionNumber"),
                acquired=self._whole("ImagesInAcquisition"),
            )

    def _whole(self, key: str) -> int | None:
        """Return a whole number that nothing but a warning depends on, or None."""
        try:
            return int(self.header.get(key))
        except (TypeError, ValueError):
            return None

    def _uid(self, key: str) -> str:
        return str(self.header.get(key) or "").strip()

    def _check_kind(self) -> None:
        header = self.header
        samples = int(header.get("SamplesPerPixel") or 1)
        if samples != 1 or "PALETTE" in str(header.get("PhotometricInterpretation", "")):
            raise SourceError(
                f"{self.label} is a colour image ({header.get('PhotometricInterpretation')}), not "
                "a slice of a scan: remove it"
            )
        if str(header.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1":
            raise SourceError(
                f"{self.label} states that its smallest value is white (MONOCHROME1), which ITK "
                "inverts and other programs do not: export the series as MONOCHROME2"
            )
        if self.frames != 1 and not has_frames(header):
            raise SourceError(
                f"{self.label} has {self.frames} frames in one file and does not state where each "
                f"of them lies ({PER_FRAME}): export the series as single slices or as an enhanced "
                "image, or convert it to NIfTI"
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
