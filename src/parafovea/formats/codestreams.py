"""Compressed images within other files: their size is checked before they are decoded.

The libraries allocate what the header of such an image states, fill what is missing of a JPEG or
JPEG XR image with gray, and read pixels without a value as 0.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from parafovea.formats.unpacking import unpacked

#: Pixels that an image may have more than expected, such as the last strip of a page.
_SPARE = 2**22

#: Samples of a pixel that an image may always have: red, green, blue, alpha.
_SAMPLES = 4

_JPEG, _PNG, _JPEG2000 = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\xff\x4f\xff\x51"
_JPEG2000_BOXES = b"\0\0\0\x0cjP  "
_JPEGXL, _JPEGXL_BOXES = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_JPEGXR, _JPEGXR_CODES, _WEBP, _LERC = b"II\xbc", b"WMPHOTO\0", b"WEBP", b"Lerc2 "
_ZSTD = b"\x28\xb5\x2f\xfd"
_END, _SCAN = b"\xff\xd9", b"\xff\xda"

#: Bytes at the end of a JPEG 2000 codestream among which zeros may follow its end.
_PADDED = 4096

#: JPEG markers with the size of the image: SOF0 to SOF15 without the tables between them, and that
#: of JPEG-LS.
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}

#: Bytes that a LERC image may have beside its pixels and a mask: headers, an index of its blocks.
_LERC_BESIDES = 2**16

#: Bytes of a JPEG XL codestream within which its size and number of channels are.
_JPEGXL_HEADER = 64

#: Widths in bits of a length of JPEG XL that is not a multiple of 8, all from 1.
_JPEGXL_LENGTHS = ((9, 1), (13, 1), (18, 1), (30, 1))

#: Ratios of width to height that JPEG XL has numbers for, from 1.
_JPEGXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


#: Tags of JPEG XR: numbers of columns and rows; start and length of the image, and of its alpha.
_JPEGXR_SIZE, _JPEGXR_PARTS = (0xBC80, 0xBC81), ((0xBCC0, 0xBCC1), (0xBCC2, 0xBCC3))


@dataclass(frozen=True)
class ImageHeader:
    """What a compressed image says about itself.

    Parameters
    ----------
    height, width : int
        Number of pixels.
    samples : int
        Samples of a pixel, as far as they are stated.
    """

    height: int
    width: int
    samples: int = 1


def check_codestream(
    data: bytes, height: int, width: int, *, samples: int = _SAMPLES
) -> ImageHeader | None:
    """Return the header of a compressed image; raise an error if it cannot be what is stated.

    Parameters
    ----------
    data : bytes
        A JPEG, JPEG-LS, JPEG 2000, JPEG XL, JPEG XR, LERC, PNG or WebP image.
    height, width, samples : int
        Number of pixels that the file around it states, and samples of each.

    Returns
    -------
    ImageHeader or None
        None if the image is of another format, of which nothing is checked.

    Raises
    ------
    ValueError
        If the image is far larger than stated, is cut short, or is a moving one.
    """
    if data.startswith(_JPEG) and data.rfind(_END) < data.rfind(_SCAN):
        raise ValueError("its JPEG image has no end: it is cut short")
    if data.startswith(_PNG):
        check_png(data)
    if data.startswith(_JPEG2000_BOXES) and _in_boxes(data, b"jp2c") is None:
        # pydicom would look for it without end
        raise ValueError("its JPEG 2000 image has no codestream")
    header = image_header(data)
    if header is None:
        return None
    if header.height * header.width > height * width + _SPARE:
        raise ValueError(
            f"its compressed image is {header.height} x {header.width}, but {height} x {width} are "
            "stated"
        )
    if header.samples > max(samples, _SAMPLES):
        raise ValueError(
            f"its compressed image has {header.samples} samples a pixel, but {samples} are stated"
        )
    return header


def check_png(data: bytes) -> None:
    """Raise `ValueError` if a PNG image is cut short, moves, or a checksum in it does not match.

    Pillow does not compare the checksum of the last pixels.
    """
    at = len(_PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"the checksum of the PNG chunk at byte {at} does not match")
        if kind == b"acTL":
            raise ValueError("the PNG image moves, it has several frames: save each as a file")
        if kind == b"IEND":
            return
        at = end
    raise ValueError("the PNG image has no end: it is cut short")


def check_jp2_end(file: BinaryIO) -> None:
    """Raise `ValueError` if the codestream of a JP2 file has no end.

    OpenJPEG reads what is missing as other pixels.

    Parameters
    ----------
    file : binary file
        At its beginning.
    """
    size = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        end = size if length == 0 else at + length
        if kind == b"jp2c":
            end = min(end, size)
            file.seek(max(at, end - _PADDED))
            last = file.read(end - file.tell()).rstrip(b"\0")
            if not last.endswith(_END):
                raise ValueError("its JPEG 2000 image has no end: it is cut short")
            return
        at = max(end, at + 8)


def unwrapped_lerc(data: bytes, size: int) -> bytes:
    """Return a LERC image that may be compressed again, by deflate or zstd.

    Parameters
    ----------
    data : bytes
        Bytes of a strip or tile of a TIFF file.
    size : int
        Bytes of its pixels.

    Raises
    ------
    ValueError
        If it is damaged, or unpacks to far more than its pixels.
    """
    if data.startswith(_LERC):
        return data
    codec = "zstd" if data.startswith(_ZSTD) else "zlib"
    # LERC stores pixels that it cannot compress as they are, beside its header and a mask
    return unpacked(codec, data, size + size // 8 + _LERC_BESIDES, exact=False)


def image_header(data: bytes) -> ImageHeader | None:
    """Return size and samples of a compressed image from its own header, or None if unknown.

    Raises
    ------
    ValueError
        If the header is cut short or contradicts itself.
    """
    if data.startswith(_PNG):
        return ImageHeader(*struct.unpack_from(">II", data, 16)[::-1]) if len(data) >= 24 else None
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data.startswith((_JPEGXL, _JPEGXL_BOXES)):
        return _jpegxl(data)
    if data.startswith(_JPEGXR):
        return _jpegxr(data)
    if data.startswith(b"RIFF") and data[8:12] == _WEBP:
        return _webp(data)
    if data.startswith(_LERC):
        return _lerc(data)
    # a codestream of JPEG 2000, or one within a JP2 file
    start = data.find(_JPEG2000, 0, 2**12)
    if start >= 0 and len(data) >= start + 42:
        right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
        (samples,) = struct.unpack_from(">H", data, start + 40)
        return ImageHeader(bottom - top, right - left, samples)
    return None


def _jpeg(data: bytes) -> ImageHeader | None:
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _FRAMES:
            return ImageHeader(*struct.unpack_from(">HHB", data, at + 5))
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


class _Bits:
    """Numbers of a JPEG XL header, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("its JPEG XL image is cut short within its header")
        found = self._number & ((1 << count) - 1)
        self._number, self._left = self._number >> count, self._left - count
        return found

    def choice(self, choices: tuple[tuple[int, int], ...]) -> int:
        """Return a number of one of four widths in bits, each with its smallest value."""
        width, least = choices[self.take(2)]
        return least + self.take(width)

    def size(self) -> tuple[int, int]:
        """Return height and width."""
        short = self.take(1)
        height = self._length(short)
        ratio = self.take(3)
        if ratio:
            times, over = _JPEGXL_RATIOS[ratio - 1]
            return height, height * times // over
        return height, self._length(short)

    def _length(self, short: int) -> int:
        return 8 * (self.take(5) + 1) if short else self.choice(_JPEGXL_LENGTHS)


def _jpegxl(data: bytes) -> ImageHeader | None:
    """Return the header of a JPEG XL image, which is one image and no animation."""
    start = 0
    if not data.startswith(_JPEGXL):
        box = _in_boxes(data, b"jxlc", b"jxlp")
        if box is None:
            return None
        # the parts of a codestream are numbered
        start = box[0] + (4 if box[1] == b"jxlp" else 0)
    bits = _Bits(data[start + 2 : start + 2 + _JPEGXL_HEADER])
    height, width = bits.size()
    if bits.take(1):
        return ImageHeader(height, width, 3)
    if bits.take(1):
        bits.take(3)
        if bits.take(1):
            bits.size()
        if bits.take(2):
            raise ValueError("its JPEG XL image has a preview or is an animation")
    if bits.take(1):
        bits.choice(((0, 32), (0, 16), (0, 24), (6, 1)))
        bits.take(4)
    else:
        bits.choice(((0, 8), (0, 10), (0, 12), (6, 1)))
    bits.take(1)
    return ImageHeader(height, width, 1 + bits.choice(((0, 0), (0, 1), (4, 2), (12, 1))))


def _in_boxes(data: bytes, *wanted: bytes) -> tuple[int, bytes] | None:
    """Return where the content of the first wanted box of a file of boxes is, and its kind."""
    at = 0
    while at + 16 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1:
            header, size = 16, int.from_bytes(data[at + 8 : at + 16], "big")
        if kind in wanted:
            return at + header, kind
        if size < header:
            return None
        at += size
    return None


def _jpegxr(data: bytes) -> ImageHeader | None:
    """Return the header of a JPEG XR image, all bytes of which are there."""
    (at,) = struct.unpack_from("<I", data, 4) if len(data) >= 8 else (len(data),)
    if at + 2 > len(data):
        raise ValueError("its JPEG XR image is cut short")
    (count,) = struct.unpack_from("<H", data, at)
    if at + 2 + 12 * count > len(data):
        raise ValueError("its JPEG XR image is cut short")
    numbers: dict[int, int] = {}
    for k in range(count):
        tag, kind, _, number = struct.unpack_from("<HHII", data, at + 2 + 12 * k)
        numbers[tag] = number & {1: 0xFF, 3: 0xFFFF}.get(kind, 0xFFFFFFFF)
    if any(tag not in numbers for tag in (*_JPEGXR_SIZE, *_JPEGXR_PARTS[0])):
        return None
    for start, length in _JPEGXR_PARTS:
        first, size = numbers.get(start, 0), numbers.get(length, 0)
        # jxrlib writes where the alpha channel ends instead of its length
        end = size if start != _JPEGXR_PARTS[0][0] and size > first else first + size
        if end > len(data):
            raise ValueError(f"its JPEG XR image is cut short: {len(data)} of {end} bytes")
    width, height = (numbers[tag] for tag in _JPEGXR_SIZE)
    inner = numbers[_JPEGXR_PARTS[0][0]]
    if not data.startswith(_JPEGXR_CODES, inner) or inner + 20 > len(data):
        return None
    # one bit says whether both lengths, less one, have 16 or 32 bits
    wide, high = struct.unpack_from(">HH" if data[inner + 10] & 0x80 else ">II", data, inner + 12)
    if (high + 1, wide + 1) != (height, width):
        raise ValueError(
            f"its JPEG XR image is {high + 1} x {wide + 1} and {height} x {width} at once"
        )
    return ImageHeader(height, width)


def _webp(data: bytes) -> ImageHeader | None:
    kind = data[12:16]
    if len(data) < 30:
        return None
    if kind == b"VP8X":
        if data[20] & 2:
            raise ValueError("its WebP image is an animation")
        wide, high = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return ImageHeader(high + 1, wide + 1)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ImageHeader((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    if kind == b"VP8 ":
        wide, high = struct.unpack_from("<HH", data, 26)
        return ImageHeader(high & 0x3FFF, wide & 0x3FFF)
    return None


def _lerc(data: bytes) -> ImageHeader | None:
    """Return the header of one or several LERC images, a band each, without missing pixels."""
    at, samples, found = 0, 0, None
    while data.startswith(_LERC, at):
        if at + 42 > len(data):
            raise ValueError("its LERC image is cut short within its header")
        (version,) = struct.unpack_from("<i", data, at + 6)
        numbers = at + (14 if version >= 3 else 10)
        height, width = struct.unpack_from("<II", data, numbers)
        (depth,) = struct.unpack_from("<I", data, numbers + 8) if version >= 4 else (1,)
        valid, _, size = struct.unpack_from("<III", data, numbers + (12 if version >= 4 else 8))
        if valid != height * width:
            raise ValueError(
                f"{height * width - valid} of the {height} x {width} pixels of its LERC image have "
                "no value: write it with another compression, such as zstd or deflate"
            )
        if found not in (None, (height, width)) or at + size > len(data) or not size:
            raise ValueError("its LERC image is cut short, or one of several sizes")
        found, samples, at = (height, width), samples + depth, at + size
    return None if found is None else ImageHeader(*found, samples)
