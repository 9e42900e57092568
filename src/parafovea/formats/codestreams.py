"""Compressed images within other files: their size is checked before they are decoded.

The libraries allocate what the header of such an image states, and fill what is missing of a JPEG
with gray.
"""

from __future__ import annotations

import struct

#: Pixels that an image may have more than expected, such as the last strip of a page.
_SPARE = 2**22

_JPEG, _PNG, _JPEG2000 = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\xff\x4f\xff\x51"
_END, _SCAN = b"\xff\xd9", b"\xff\xda"

#: JPEG markers with the size of the image: SOF0 to SOF15 without the tables between them, and that
#: of JPEG-LS.
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def check_codestream(data: bytes, height: int, width: int) -> None:
    """Raise `ValueError` if a compressed image is far larger than expected, or is cut short.

    Parameters
    ----------
    data : bytes
        A JPEG, JPEG-LS, JPEG 2000 or PNG image; others are not checked.
    height, width : int
        Number of pixels that the file around it states.
    """
    if data.startswith(_JPEG) and data.rfind(_END) < data.rfind(_SCAN):
        raise ValueError("its JPEG image has no end: it is cut short")
    size = image_size(data)
    if size is not None and size[0] * size[1] > height * width + _SPARE:
        raise ValueError(
            f"its compressed image is {size[0]} x {size[1]}, but {height} x {width} are stated"
        )


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width of a compressed image from its own header, or None if unknown."""
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    # a codestream of JPEG 2000, or one within a JP2 file
    start = data.find(_JPEG2000, 0, 2**12)
    if start >= 0 and len(data) >= start + 24:
        right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
        return bottom - top, right - left
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
