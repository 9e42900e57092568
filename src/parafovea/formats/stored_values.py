"""Conversion of stored numbers to values, where a file states that they differ."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Missing:
    """The stored numbers that mean that there is no value.

    Parameters
    ----------
    values : tuple of float
        Single numbers.
    low, high : float or None
        Smallest and largest number that is a value.
    nan : bool
        Whether NaN is one of them.
    """

    values: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    nan: bool = False

    @property
    def is_one_number(self) -> bool:
        """Whether a single number, and nothing else, is missing."""
        return len(self.values) == 1 and self.low is None and self.high is None and not self.nan

    def among(self, numbers: Array) -> NDArray[np.bool_]:
        """Return where stored numbers, of any shape, are missing."""
        found: NDArray[np.bool_] = np.zeros(numbers.shape, bool)
        for value in self.values:
            exact = int(value) if numbers.dtype.kind in "iu" else value
            found |= numbers == numbers.dtype.type(exact)
        if self.low is not None:
            found |= numbers < self.low
        if self.high is not None:
            found |= numbers > self.high
        return found | np.isnan(numbers) if self.nan else found


def _float_of(dtype: np.dtype[Any]) -> type[np.float32 | np.float64]:
    return np.float32 if dtype.itemsize <= 2 else np.float64


def _of_line(dtype: np.dtype[Any], slope: float, intercept: float) -> np.dtype[Any]:
    whole = float(slope).is_integer() and float(intercept).is_integer()
    if dtype.kind in "iu" and dtype.itemsize <= 4 and whole:
        limits = np.iinfo(dtype)
        ends = sorted(int(end) * int(slope) + int(intercept) for end in (limits.min, limits.max))
        for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32"):
            fitting = np.iinfo(name)
            if fitting.min <= ends[0] and ends[1] <= fitting.max:
                return np.dtype(name)
    return np.dtype(_float_of(dtype))


def without_sign(stored: StoredArray) -> StoredArray:
    """Return signed integers reinterpreted as unsigned ones."""
    native = np.dtype(stored.dtype).newbyteorder("=")
    dtype = np.dtype(f"u{native.itemsize}")
    return ConvertedValues(stored, dtype, lambda numbers: numbers.astype(native).view(dtype))


def _with_sign(stored: StoredArray) -> StoredArray:
    """Return unsigned integers reinterpreted as signed ones."""
    native = np.dtype(stored.dtype).newbyteorder("=")
    dtype = np.dtype(f"i{native.itemsize}")
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


def without_missing(
    stored: StoredArray, missing: Missing, *, slope: float = 1.0, intercept: float = 0.0
) -> StoredArray:
    """Return values with NaN in place of missing ones.

    Parameters
    ----------
    stored : StoredArray
        Integers or floats.
    missing : Missing
        The stored numbers that mean that there is no value.
    slope, intercept : float
        A value is `stored * slope + intercept`.

    Returns
    -------
    StoredArray
        Floats: of the stored width for floats, otherwise as `on_a_line`.
    """
    kind = np.dtype(stored.dtype)
    dtype = kind.newbyteorder("=") if kind.kind == "f" else np.dtype(_float_of(kind))

    def convert(numbers: Array) -> Array:
        values: Array = numbers.astype(np.float64) * slope + intercept
        values[missing.among(numbers)] = np.nan
        return values

    return ConvertedValues(stored, dtype, convert)


def marked_missing(stored: StoredArray, missing: Missing) -> tuple[StoredArray, int | None]:
    """Return labels in which one number marks missing ones, and that number, or None without any.

    Parameters
    ----------
    stored : StoredArray
        Class indices or object ids.
    missing : Missing
        The stored numbers that mean that nobody has labelled the voxel.
    """
    dtype = np.dtype(stored.dtype).newbyteorder("=")
    whole = [int(value) for value in missing.values if int(value) == value]
    # no label is negative
    mark = whole[0] if whole else -1
    if missing.is_one_number and whole:
        return stored, mark
    if not missing.is_one_number and not _fits(mark, dtype):
        dtype = np.dtype(np.int64)

    def convert(numbers: Array) -> Array:
        return np.where(missing.among(numbers), dtype.type(mark), numbers.astype(dtype))

    return ConvertedValues(stored, dtype, convert), mark


def by_attributes(
    stored: StoredArray, attributes: Mapping[str, Any], path: str, *, labels: bool
) -> tuple[StoredArray, int | None]:
    """Return the values of a Zarr array or HDF5 dataset, converted as its attributes state.

    The attributes are those of the CF conventions for packed and missing data (`scale_factor`,
    `add_offset`, `_Unsigned`, `_FillValue`, `missing_value`, `valid_min`, `valid_max`,
    `valid_range`), and the palettes and white levels of the HDF5 image specification.

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

    Returns
    -------
    StoredArray
        The values; NaN where they are missing, except in labels.
    int or None
        In labels, the number of voxels that nobody has labelled; None if none is stated.

    Raises
    ------
    SourceError
        If the value of an attribute is invalid, or a palette is stated.
    """
    unsigned, kind = _text(attributes.get("_Unsigned")), np.dtype(stored.dtype).kind
    if (unsigned, kind) == ("true", "i"):
        stored = without_sign(stored)
    elif (unsigned, kind) == ("false", "u"):
        stored = _with_sign(stored)
    if not labels:
        if _text(attributes.get("IMAGE_SUBCLASS")) == "image_indexed" or "PALETTE" in attributes:
            raise SourceError(
                f"{path} has a palette, so its numbers are not intensities: write the volume in "
                "gray"
            )
        if _text(attributes.get("IMAGE_WHITE_IS_ZERO")) in ("1", "true"):
            stored = inverted(stored, 8 * np.dtype(stored.dtype).itemsize, path)
    line = [
        _numbers(attributes, name, path, counts=(1,)) or (default,)
        for name, default in (("scale_factor", 1.0), ("add_offset", 0.0))
    ]
    slope, intercept = float(line[0][0]), float(line[1][0])
    missing = stated_missing(attributes, np.dtype(stored.dtype), path, line=(slope, intercept))
    straight = on_a_line(stored, slope, intercept, path)
    if missing is None or (missing == Missing(nan=True) and not labels):
        return straight, None
    if not labels:
        return without_missing(stored, missing, slope=slope, intercept=intercept), None
    if straight is not stored:
        raise SourceError(
            f"{path} states a scale for its numbers (scale_factor, add_offset) as well as missing "
            "values, so they are no labels: write the labels as plain whole numbers"
        )
    return marked_missing(stored, missing)


def stated_missing(
    attributes: Mapping[str, Any], dtype: np.dtype[Any], path: str, *, line: tuple[float, float]
) -> Missing | None:
    """Return the stored numbers that mean that there is no value, by the CF conventions.

    Parameters
    ----------
    attributes : mapping
        Attributes of the array.
    dtype : dtype
        Data type of the stored numbers.
    path : str
        Used in error messages.
    line : tuple of float
        Slope and intercept from stored numbers to values. Limits that are floats, of stored
        integers, are limits of the values.

    Returns
    -------
    Missing or None
        None if no number of the data type is missing.

    Raises
    ------
    SourceError
        If an attribute is not numeric.
    """
    if dtype.kind not in "iuf":
        return None
    stated = [
        mark
        for name in ("_FillValue", "missing_value")
        for mark in _numbers(attributes, name, path, counts=None) or ()
    ]
    if dtype.kind == "u" and _text(attributes.get("_Unsigned")) == "true":
        # marks are stated in the data type of the file, which is signed
        stated = [mark + 2 ** (8 * dtype.itemsize) if mark < 0 else mark for mark in stated]
    marks = [dtype.type(mark).item() for mark in stated if _fits(mark, dtype)]
    ends: list[float] = [-math.inf, math.inf]
    ranged = _numbers(attributes, "valid_range", path, counts=(2,))
    if ranged is not None:
        ends = [*ranged]
    for end, name in enumerate(("valid_min", "valid_max")):
        own = _numbers(attributes, name, path, counts=(1,))
        if own is not None:
            ends[end] = own[0]
    whole = all(isinstance(end, int) for end in ends if math.isfinite(end))
    if dtype.kind in "iu" and line != (1.0, 0.0) and not whole:
        ends = sorted((end - line[1]) / line[0] for end in ends)
    limits = (-math.inf, math.inf) if dtype.kind == "f" else _limits(dtype)
    low = ends[0] if ends[0] > limits[0] else None
    high = ends[1] if ends[1] < limits[1] else None
    has_nan = dtype.kind == "f" and any(map(math.isnan, stated))
    found = Missing(tuple(dict.fromkeys(marks)), low, high, nan=has_nan)
    return None if found == Missing() else found


def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Return whether a stored number of a data type can have a value."""
    if dtype.kind == "f":
        return not math.isnan(value) and abs(value) <= np.finfo(dtype).max
    if dtype.kind not in "iu" or not math.isfinite(value) or int(value) != value:
        return False
    limits = np.iinfo(dtype)
    return limits.min <= int(value) <= limits.max


def _numbers(
    attributes: Mapping[str, Any], name: str, path: str, *, counts: tuple[int, ...] | None
) -> tuple[float, ...] | None:
    """Return the numbers of an attribute, None if it is not stated, or raise `SourceError`."""
    stated = attributes.get(name)
    if stated is None:
        return None
    value = np.asarray(stated)
    if value.dtype.kind in "SUO" and value.size == 1:
        number = _spelled(_text(stated), str(value.reshape(())[()]))
        value = value if number is None else np.asarray(number)
    if value.dtype.kind not in "iuf" or (counts is not None and value.size not in counts):
        expected = "numbers" if counts is None else f"{'one number' if counts == (1,) else counts}"
        raise SourceError(
            f"{path} has the attribute {name} = {stated!r}, which is not {expected}: correct it "
            "in the file"
        )
    return tuple(value.reshape(-1).tolist())


def _spelled(plain: str, text: str) -> float | None:
    """Return a number that JSON holds as text: by its name, or in the base64 of xarray."""
    try:
        return float(plain)
    except ValueError:
        pass
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return float(struct.unpack("<d", raw)[0]) if len(raw) == 8 else None


def _text(value: Any) -> str:
    plain = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    plain = plain.reshape(-1)[0] if isinstance(plain, np.ndarray) and plain.size else plain
    plain = plain.decode("utf-8", "replace") if isinstance(plain, bytes) else plain
    return "" if plain is None else str(plain).strip().lower()
