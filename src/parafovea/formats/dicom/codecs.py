"""Decoders for compressed slices, registered with pydicom and based on imagecodecs.

pydicom itself and Pillow decode RLE, 8-bit JPEG and JPEG 2000; this module adds lossless JPEG and
JPEG-LS, the usual compression in CT archives.
"""

from __future__ import annotations

import imagecodecs
import numpy as np
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import (
    HTJ2K,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

_LABEL = "imagecodecs"
_LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)
_FUNCTIONS = {
    **dict.fromkeys(_LOSSLESS_JPEG, "jpegsof3"),
    JPEGExtended12Bit: "jpeg8",
    JPEGLSLossless: "jpegls",
    JPEGLSNearLossless: "jpegls",
    HTJ2KLossless: "jpeg2k",
    HTJ2KLosslessRPCL: "jpeg2k",
    HTJ2K: "jpeg2k",
}

#: Dependencies of the plugin besides pydicom, as its plugin interface requires.
DECODER_DEPENDENCIES = dict.fromkeys(_FUNCTIONS, (_LABEL,))


def is_available(uid: str) -> bool:
    """Return whether slices of a transfer syntax can be decoded; called by pydicom."""
    name = _FUNCTIONS.get(uid)
    return name is not None and bool(getattr(imagecodecs, name.upper()).available)


def decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    """Return the pixels of one compressed image in pydicom's format.

    Parameters
    ----------
    source : bytes
        The compressed image.
    runner : DecodeRunner
        Holds the header; its record of the decoded bit depth is updated.
    """
    decode = getattr(imagecodecs, f"{_FUNCTIONS[runner.transfer_syntax]}_decode")
    pixels = np.ascontiguousarray(decode(source))
    if pixels.size != runner.rows * runner.columns:
        raise ValueError(
            f"the compressed image is {pixels.shape}, but the header states "
            f"{(runner.rows, runner.columns)}"
        )
    runner.set_option("bits_allocated", 8 * pixels.itemsize)
    return bytearray(pixels.tobytes())


def register() -> None:
    """Register the decoders with pydicom, once per process."""
    for uid in _FUNCTIONS:
        decoder = get_decoder(uid)
        known = (*decoder.available_plugins, *decoder.missing_dependencies)
        if not any(name.startswith(_LABEL) for name in known):
            decoder.add_plugin(_LABEL, (__name__, "decode_frame"))
