"""Conversion of stored numbers to values, where a file states that they differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats.source import Array, StoredArray


class ConvertedValues:
    """A stored array whose numbers are converted to values on reading.

    Parameters
    ----------
    stored : StoredArray
        Array as stored in the file.
    dtype : dtype
        Data type of the values.
    convert : callable
        Function from stored numbers of any shape to values of the same shape.
    """

    def __init__(
        self, stored: StoredArray, dtype: np.dtype[Any], convert: Callable[[Array], Array]
    ) -> None:
        self.shape = stored.shape
        self.dtype = dtype
        self._stored = stored
        self._convert = convert

    def __getitem__(self, index: tuple[slice | int, ...]) -> Array:
        """Return the values selected by one slice or integer per axis."""
        return np.asarray(self._convert(np.asarray(self._stored[index])), dtype=self.dtype)


def on_a_line(stored: StoredArray, slope: float, intercept: float, path: str) -> StoredArray:
    """Return values that are `stored * slope + intercept`.

    Parameters
    ----------
    stored : StoredArray
        Integers or floats.
    slope, intercept : float
        As stated in the file.
    path : str
        Used in error messages.

    Returns
    -------
    StoredArray
        The same array for slope 1 and intercept 0. Integers if both numbers are integral and all
        possible values fit an integer of at most 32 bits; otherwise float32, or float64 for stored
        numbers of more than 16 bits.

    Raises
    ------
    SourceError
        If the numbers are not finite, or the slope is 0.
    """
    if slope == 1 and intercept == 0:
        return stored
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise SourceError(
            f"{path} states that a value is its number x {slope:g} + {intercept:g}, which is "
            "meaningless: correct it in the file"
        )
    dtype = _of_line(np.dtype(stored.dtype), slope, intercept)
    wide = np.int64 if dtype.kind in "iu" else np.float64

    def convert(numbers: Array) -> Array:
        values: Array = numbers.astype(wide) * wide(slope) + wide(intercept)
        return values

    return ConvertedValues(stored, dtype, convert)


def _of_line(dtype: np.dtype[Any], slope: float, intercept: float) -> np.dtype[Any]:
    whole = float(slope).is_integer() and float(intercept).is_integer()
    if dtype.kind in "iu" and dtype.itemsize <= 4 and whole:
        limits = np.iinfo(dtype)
        ends = sorted(int(end) * int(slope) + int(intercept) for end in (limits.min, limits.max))
        for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32"):
            fitting = np.iinfo(name)
            if fitting.min <= ends[0] and ends[1] <= fitting.max:
                return np.dtype(name)
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


def without_sign(stored: StoredArray) -> StoredArray:
    """Return signed integers reinterpreted as unsigned ones."""
    native = np.dtype(stored.dtype).newbyteorder("=")
    dtype = np.dtype(f"u{native.itemsize}")
    return ConvertedValues(stored, dtype, lambda numbers: numbers.astype(native).view(dtype))


def inverted(stored: StoredArray, bits: int, path: str) -> StoredArray:
    """Return unsigned integers with white at 0 inverted, so that 0 becomes black.

    Parameters
    ----------
    stored : StoredArray
        Numbers of `bits` bits.
    bits : int
        Number of bits; the maximum is 2 ** bits - 1.
    path : str
        Used in error messages.

    Raises
    ------
    SourceError
        If the numbers have no maximum: signed integers and floats.
    """
    dtype = np.dtype(stored.dtype).newbyteorder("=")
    if dtype.kind != "u":
        raise SourceError(
            f"{path} states that 0 is white, but its {dtype} numbers have no black: save it with "
            "0 as black"
        )
    white = dtype.type(2**bits - 1)
    return ConvertedValues(stored, dtype, lambda numbers: white - numbers.astype(dtype))


def gray_of_palette(palette: NDArray[Any]) -> NDArray[Any] | None:
    """Return the gray level of each index of a palette, or None if an entry is coloured.

    Parameters
    ----------
    palette : ndarray
        (entries, 3) uint8 or uint16: red, green and blue.

    Returns
    -------
    ndarray or None
        (entries,) uint8 if no entry needs more, otherwise uint16.
    """
    red = palette[:, 0]
    if (palette != red[:, None]).any():
        return None
    if palette.dtype == np.uint16:
        # 8-bit grays in 16-bit TIFF palettes: g * 257 by the standard, g * 256 in many programs
        for step in (257, 256):
            if (red % step == 0).all():
                return (red // step).astype(np.uint8)
    return red.copy()


def of_palette(stored: StoredArray, palette: NDArray[Any], path: str) -> StoredArray:
    """Return the gray levels of palette indices.

    Parameters
    ----------
    stored : StoredArray
        Indices.
    palette : ndarray
        (entries, 3) uint8 or uint16: red, green and blue.
    path : str
        Used in error messages.

    Raises
    ------
    SourceError
        If the palette has colours; on reading, if an index is outside of the palette.
    """
    gray = gray_of_palette(palette)
    if gray is None:
        raise SourceError(
            f"{path} has a colour palette, so its numbers are not intensities: save the "
            "measured volume in gray; only a truth may have a palette"
        )
    return ConvertedValues(stored, gray.dtype, lambda numbers: gray[numbers])


def by_attributes(
    stored: StoredArray, attributes: Mapping[str, Any], path: str, *, labels: bool
) -> StoredArray:
    """Return the values of a Zarr array or HDF5 dataset, converted as its attributes state.

    The attributes are `scale_factor`, `add_offset` and `_Unsigned` of the CF conventions, and the
    palettes and white levels of the HDF5 image specification.

    Parameters
    ----------
    stored : StoredArray
        Array as stored.
    attributes : mapping
        Attributes of the array.
    path : str
        Used in error messages.
    labels : bool
        Whether the numbers are class indices or object ids.

    Raises
    ------
    SourceError
        If the value of an attribute is invalid, or a palette is stated.
    """
    if _text(attributes.get("_Unsigned")) == "true" and np.dtype(stored.dtype).kind == "i":
        stored = without_sign(stored)
    if not labels:
        if _text(attributes.get("IMAGE_SUBCLASS")) == "image_indexed" or "PALETTE" in attributes:
            raise SourceError(
                f"{path} has a palette, so its numbers are not intensities: write the volume in "
                "gray"
            )
        if _text(attributes.get("IMAGE_WHITE_IS_ZERO")) in ("1", "true"):
            stored = inverted(stored, 8 * np.dtype(stored.dtype).itemsize, path)
    line = []
    for name, default in (("scale_factor", 1.0), ("add_offset", 0.0)):
        value = np.asarray(attributes.get(name, default))
        if value.size != 1 or value.dtype.kind not in "iuf":
            raise SourceError(
                f"{path} has the attribute {name} = {attributes[name]!r}, which is not one number: "
                "correct it in the file"
            )
        line.append(float(value.reshape(())))
    return on_a_line(stored, line[0], line[1], path)


def _text(value: Any) -> str:
    plain = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    plain = plain.reshape(-1)[0] if isinstance(plain, np.ndarray) and plain.size else plain
    return "" if plain is None else str(plain).strip().lower()
