"""Conversion of the numbers in a file to reflectance in [0, 1], and checks of the scale."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats.quantity_bands import Conversion

logger = logging.getLogger(__name__)

#: Reflectance per digital number of Sentinel-2 (1 / QUANTIFICATION_VALUE).
DN_SCALE = 1e-4

#: Added to the reflectance since processing baseline N0400 (ADD_OFFSET, -1000 digital numbers).
DN_OFFSET = -0.1

#: Rounding tolerance for values in [0, 1].
TOLERANCE = 1e-3

#: Scaled reflectance outside of this range indicates a wrong scale, not a bright cloud, or a number
#: such as -9999 that should be nodata. The largest digital number of Sentinel-2, 65535, is 6.6.
LOWEST, HIGHEST = -0.5, 10.0

#: Share of clipped or wrapped values from which they count as many.
MANY = 0.01

#: Maximum scale of digital numbers.
SMALL_SCALE = 0.01

#: No image of the ground is darker than this in all pixels and bands.
DARKEST = 0.01

#: 8-bit numbers that stay below this were not stored with the scale.
DARK_BYTES = 0.1

#: Largest number of an 8-bit image, which may be stored in wider integers.
BYTE = 255

#: Numbers this close to the maximum of an unsigned type, and brighter than any cloud, are below 0.
WRAPPED, WRAPPED_REFLECTANCE = 2000, 2.0

#: Nodata numbers from this on, such as the lowest of float32, are often written with six digits.
HUGE, ROUNDED = 1e30, 2e-6

_BYTES = (
    "8 bits do not hold the digital numbers of Sentinel-2 but a display image; give the "
    "original numbers, or, if 255 is reflectance 1, write scale=0.00392157 in the metadata column "
    "of the sample sheet"
)

_ASK = "write baseline=0400 (or scale= and offset=) in the metadata column of the sample sheet"


def measured(
    stored: NDArray[Any],
    *,
    nodata: Sequence[Collection[float]],
    masks: Iterable[NDArray[Any]] = (),
) -> NDArray[np.bool_] | None:
    """Return which pixels have a measurement in all bands, or None if all have.

    This function determines the measured pixels for every format; the statements of a file are
    passed as `nodata` and `masks`.

    Parameters
    ----------
    stored : ndarray
        (band, y, x), numbers as stored.
    nodata : sequence of collections of float
        For each band, the numbers that mark missing values; may contain NaN.
    masks : iterable of ndarray
        (y, x) each, 0 or false where nothing was measured: masks, alpha bands.

    Returns
    -------
    ndarray or None
        (y, x) bool.
    """
    valid = np.ones(stored.shape[1:], np.bool_)
    with np.errstate(over="ignore"):  # a number outside the range of the file's type
        for band, numbers in zip(stored, nodata, strict=True):
            for number in numbers:
                valid &= ~_equals(band, number)
    for mask in masks:
        valid &= np.asarray(mask) != 0
    return None if valid.all() else valid


def _equals(band: NDArray[Any], number: float) -> NDArray[np.bool_]:
    """Return which values of a band are a nodata number, (y, x)."""
    if np.isnan(number):
        found = np.isnan(band)
    elif abs(number) < HUGE or band.dtype.kind != "f":
        found = band == number
    else:
        found = np.isclose(band, number, rtol=ROUNDED, atol=0)
    return np.asarray(found, np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Reflectance:
    """Reflectance of an image or window.

    Parameters
    ----------
    values : ndarray
        (band, y, x) float32 in [0, 1].
    clipped : ndarray or None
        (y, x) uint8, number of bands in which the scale puts a measured pixel outside [0, 1]
        by more than rounding; None if there are none.
    highest : float
        Maximum of the measured values before clipping; 0 if there are none.
    """

    values: NDArray[np.float32]
    clipped: NDArray[np.uint8] | None = None
    highest: float = 0.0


def to_reflectance(
    stored: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    path: str,
    *,
    scale: Sequence[float] | None,
    offset: Sequence[float] | None,
    conversions: Sequence[Conversion | None] = (),
    refused: type[SourceError] = SourceError,
) -> Reflectance:
    """Return the reflectance of an image or of a window of one.

    Without a scale, values must be in [0, 1] within `TOLERANCE`. With a scale, reflectance outside
    (clouds, and dark water under an offset) is clipped and counted. `ScaleTally` checks whether
    the scale fits the image as a whole.

    Parameters
    ----------
    stored : ndarray
        (band, y, x), numbers as stored.
    valid : ndarray or None
        (y, x) bool; false pixels are ignored and become 0.
    path : str
        Used in error messages.
    scale, offset : sequence of float, optional
        One number per band: reflectance = stored * scale + offset.
    conversions : sequence of Conversion or None
        One per band, for those that are no reflectance but a quantity in the range that the model
        states; empty if all are reflectance.
    refused : type
        Exception class to raise.

    Raises
    ------
    SourceError
        Raised as `refused` if valid values are NaN, infinite, or cannot be reflectance, or the
        quantity that they are said to be.
    """
    if any(conversions):
        return _converted(stored, valid, path, scale, offset, conversions, refused)
    inside = slice(None) if valid is None else valid
    known = stored[:, inside]
    if known.dtype.kind not in "uif":
        raise refused(
            f"{path} holds {known.dtype} instead of real numbers: write reflectance as float32"
        )
    if not known.size:
        return Reflectance(np.zeros(stored.shape, np.float32))
    if np.issubdtype(known.dtype, np.floating):
        _check_finite(known, path, refused)
    elif scale is None:
        raise refused(_unscaled(known, path))
    clipped = None
    if scale is None or offset is None:
        _check_range(known, path, refused)
        values = stored.astype(np.float32)
        high = float(known.max())
    else:
        factor, added = (
            np.asarray(numbers, np.float32)[:, None, None] for numbers in (scale, offset)
        )
        with np.errstate(over="ignore", invalid="ignore"):  # at invalid pixels
            values = stored.astype(np.float32) * factor + added
        found = values[:, inside]
        low, high = float(found.min()), float(found.max())
        _check_scaled(low, high, path, refused, scale=scale, offset=offset)
        if low < -TOLERANCE or high > 1 + TOLERANCE:
            clipped = ((values < -TOLERANCE) | (values > 1 + TOLERANCE)).sum(0, dtype=np.uint8)
    np.clip(values, 0, 1, out=values)
    if valid is not None:
        values[:, ~valid] = 0
        if clipped is not None:
            clipped[~valid] = 0
    return Reflectance(values, clipped, high)


def _converted(
    stored: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    path: str,
    scale: Sequence[float] | None,
    offset: Sequence[float] | None,
    conversions: Sequence[Conversion | None],
    refused: type[SourceError],
) -> Reflectance:
    """Return the values of an image in which some bands are no reflectance."""
    inside = slice(None) if valid is None else valid
    values = np.zeros(stored.shape, np.float32)
    clipped = np.zeros(stored.shape[1:], np.uint8)
    highest = 0.0
    rest = optical_bands(conversions)
    if rest:
        factors, added = (
            None if each is None else [each[n] for n in rest] for each in (scale, offset)
        )
        found = to_reflectance(
            stored[rest], valid, path, scale=factors, offset=added, refused=refused
        )
        values[rest], highest = found.values, found.highest
        if found.clipped is not None:
            clipped += found.clipped
    for number, conversion in enumerate(conversions):
        if conversion is None or not stored[number][inside].size:
            continue
        band = stored[number].astype(np.float32)
        if scale is not None and offset is not None and conversion.scaled:
            band = band * np.float32(scale[number]) + np.float32(offset[number])
        known = band[inside]
        _check_finite(known, path, refused)
        if valid is not None:
            band = np.where(valid, band, known[0])
        mapped = conversion(band, known, path, refused)
        outside = (mapped < -TOLERANCE) | (mapped > 1 + TOLERANCE)
        clipped += outside if valid is None else outside & valid
        values[number] = np.clip(mapped, 0, 1)
    if valid is not None:
        values[:, ~valid] = 0
    return Reflectance(values, clipped if clipped.any() else None, highest)


def optical_bands(conversions: Sequence[Conversion | None]) -> list[int]:
    """Return the indices of the bands that are reflectance."""
    return [number for number, each in enumerate(conversions) if each is None]


@dataclass
class ScaleTally:
    """Statistics of an image's numbers under its scale, accumulated over windows.

    Parameters
    ----------
    path : str
        Path of the image, used in error messages.
    scale, offset : sequence of float, optional
        One number per band: reflectance = stored * scale + offset.
    refused : type
        Exception class to raise.
    conversions : sequence of Conversion or None
        As for `to_reflectance`: of bands that are no reflectance, measured values are counted only.
    """

    path: str
    scale: Sequence[float] | None
    offset: Sequence[float] | None
    refused: type[SourceError] = SourceError
    conversions: Sequence[Conversion | None] = ()
    _optical: list[int] | None = None
    _measured: int = 0
    _pixels: int = 0
    _blank: int = 0
    _wrapped: int = 0
    _lows: NDArray[np.float64] | None = None
    _highs: NDArray[np.float64] | None = None
    _highest: float = -math.inf
    _dtype: np.dtype[Any] | None = None

    def __post_init__(self) -> None:
        if any(self.conversions):
            self._optical = optical_bands(self.conversions)
            self.scale, self.offset = (
                [each[n] for n in self._optical] if each and self._optical else None
                for each in (self.scale, self.offset)
            )

    def add(
        self, stored: NDArray[Any], valid: NDArray[np.bool_] | None, found: Reflectance
    ) -> None:
        """Count a window of the image and the result of `to_reflectance` for it."""
        known = stored if valid is None else stored[:, valid]
        self._dtype = stored.dtype
        if not known.size:
            return
        self._measured += known.size
        if self._optical is not None:
            known = known[self._optical]
        if not known.size:
            return
        self._pixels += known.size // len(known)
        self._blank += int((known == 0).all(axis=0).sum())
        by_band = known.reshape(len(known), -1)
        lows, highs = by_band.min(axis=1).astype(float), by_band.max(axis=1).astype(float)
        self._lows = lows if self._lows is None else np.minimum(lows, self._lows)
        self._highs = highs if self._highs is None else np.maximum(highs, self._highs)
        self._highest = max(self._highest, found.highest)
        most = np.iinfo(known.dtype).max if known.dtype.kind == "u" else 0
        if most > 255:
            self._wrapped += int(((known >= most - WRAPPED) & (known < most)).sum())

    def check(self) -> None:
        """Raise an error if the scale cannot be that of the image.

        Raises
        ------
        SourceError
            Raised as `refused` if no pixel was measured, all reflectance is 0, or the numbers
            are already reflectance, 8-bit, wrapped around below 0, or far too dark.
        """
        if not self._measured:
            raise self.refused(
                f"{self.path} has no valid pixel, all are nodata: remove it, or correct nodata= in "
                "the metadata column of the sample sheet"
            )
        if self._lows is None:  # no band is reflectance
            return
        if self._highest <= 0 and self._range == (0, 0):
            raise self.refused(
                f"{self.path} is 0 in all pixels and bands, which is not a measurement: remove it"
            )
        if self._highest <= 0 and not self._scaled_again:
            raise self.refused(
                f"{self.path} has no reflectance above 0: correct scale=, offset= or baseline= in "
                "the metadata column of the sample sheet"
            )
        if self.scale is None or self.offset is None:
            return
        low, high = self._range
        shown = f"with scale {self.scale[0]:g} and offset {self.offset[0]:g}"
        if self._scaled_again:
            raise self.refused(
                f"{self.path} holds {low:g} to {high:g} ({self._dtype}), which is reflectance "
                f"already; {shown} it would be scaled twice: take baseline=, scale= and offset= "
                "out of the metadata column of the sample sheet, put these files into a sample of "
                "their own, or write scale=1 where the file's own tag is wrong"
            )
        most = max(s * 255 + o for s, o in zip(self.scale, self.offset, strict=True))
        if self._dtype is not None and self._dtype.itemsize == 1 and most < DARK_BYTES:
            raise self.refused(
                f"{self.path} holds 8-bit integers ({low:g} to {high:g}), which {shown} "
                f"are at most {most:.3g}: {_BYTES}"
            )
        if self._highest < DARKEST and min(self.scale) <= SMALL_SCALE:
            raise self.refused(
                f"{self.path} has no reflectance above {self._highest:.2g} {shown} (its numbers "
                f"are {low:g} to {high:g}): correct scale=, offset= or baseline= in the metadata "
                "column of the sample sheet"
            )
        if self._wrapped >= MANY * self._measured and self._highest > WRAPPED_REFLECTANCE:
            raise self.refused(
                f"{self.path} has {self._wrapped} of {self._measured} values just below the "
                f"largest of {self._dtype} (up to {high:g}), as where a subtraction fell below 0 "
                "and wrapped around: subtract in a signed type, or give the numbers before it"
            )

    def notes(self) -> tuple[str, ...]:
        """Return what may be wrong with the numbers, but need not be; phrases without the path."""
        found = []
        if self._blank and self._blank >= MANY * self._pixels:
            found.append(
                "1 % or more of the pixels are 0 in all bands and count as measured; if they are "
                "gaps, such as the edge of a swath, write nodata=0"
            )
        is_wide = self._dtype is not None and self._dtype.kind in "ui" and self._dtype.itemsize > 1
        small = self.scale is not None and min(self.scale) <= SMALL_SCALE / 10
        if is_wide and small and 0 < self._range[1] <= BYTE:
            found.append(
                "no number is above 255, as in an 8-bit display image, for which the scale would "
                "be wrong"
            )
        if self._pixels > 1 and self._lows is not None and self._highs is not None:
            still = np.flatnonzero(self._lows == self._highs)
            if still.size and self._range != (0, 0):
                number = still[0] if self._optical is None else self._optical[still[0]]
                found.append(
                    f"band {number + 1} of those that are read has the same number in all "
                    "pixels, as where a file was not complete"
                )
        return tuple(found)

    @property
    def _range(self) -> tuple[float, float]:
        if self._lows is None or self._highs is None:
            return math.inf, -math.inf
        return float(self._lows.min()), float(self._highs.max())

    @property
    def _scaled_again(self) -> bool:
        """Whether a band of floats is already in [0, 1], and its scale that of digital numbers."""
        if self.scale is None or self._dtype is None or self._dtype.kind != "f":
            return False
        if self._lows is None or self._highs is None:
            return False
        small = np.asarray(self.scale) <= SMALL_SCALE
        inside = (self._lows >= -TOLERANCE) & (self._highs > 0) & (self._highs <= 1 + TOLERANCE)
        return bool((small & inside).any())


def warn_of_clipped(what: str, clipped: int, measured: int) -> None:
    """Log a warning if many values are outside [0, 1], which indicates a wrong scale.

    Parameters
    ----------
    what : str
        Name of the image or images in the warning.
    clipped, measured : int
        Number of clipped values, and of all measured values.
    """
    if clipped and clipped >= MANY * measured:
        logger.warning(
            "%d of %d values of %s (%.0f %%) were outside [0, 1] and clipped: check baseline=, "
            "scale= and offset= in the metadata column; an offset may have been subtracted before",
            clipped,
            measured,
            what,
            100 * clipped / measured,
        )


def is_reflectance(stored: NDArray[Any], valid: NDArray[np.bool_] | None) -> bool | None:
    """Return whether numbers already are reflectance: floats in [0, 1] that are not all 0.

    Parameters
    ----------
    stored : ndarray
        (band, y, x), numbers as stored.
    valid : ndarray or None
        (y, x) bool; false pixels are ignored.

    Returns
    -------
    bool or None
        None if this cannot be determined.
    """
    if stored.dtype.kind != "f":
        return False
    known = stored if valid is None else stored[:, valid]
    known = known[np.isfinite(known)]
    if not known.size or not known.any():
        return None
    return bool(known.min() >= -TOLERANCE and known.max() <= 1 + TOLERANCE)


def fill(values: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Return values with invalid pixels replaced by the nearest valid pixel.

    Parameters
    ----------
    values : ndarray
        (band, y, x).
    valid : ndarray or None
        (y, x) bool with at least one true pixel; None if all pixels are valid.
    """
    if valid is None:
        return values
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    filled: NDArray[np.float32] = values[:, rows, columns]
    return filled


def _check_finite(known: NDArray[Any], path: str, refused: type[SourceError]) -> None:
    finite = np.isfinite(known)
    if finite.all():
        return
    missing = int(np.isnan(known).sum())
    infinite = int(finite.size - finite.sum()) - missing
    hint = (
        "write nodata=nan in the metadata column of the sample sheet if NaN marks missing pixels "
        "(nodata=nan,-9999 if both do)"
        if missing
        else "write the file again without them"
    )
    raise refused(
        f"{path} has {missing} NaN and {infinite} infinite values of {known.size}: {hint}"
    )


def _check_range(known: NDArray[Any], path: str, refused: type[SourceError]) -> None:
    low, high = float(known.min()), float(known.max())
    if low >= -TOLERANCE and high <= 1 + TOLERANCE:
        return
    outside = int(((known < -TOLERANCE) | (known > 1 + TOLERANCE)).sum())
    found = f"{outside} of {known.size} values outside [0, 1] ({low:g} to {high:g})"
    if high > HIGHEST:
        raise refused(f"{path} has {found}, which look like digital numbers: {_ASK}")
    if high < 0:
        raise refused(
            f"{path} has no value above 0 ({low:g} to {high:g}): give reflectance in [0, 1], or, "
            "for radar in decibels, the scale and offset that map it to [0, 1]"
        )
    raise refused(
        f"{path} has {found}: correct the file, or write scale=1 in the metadata column of the "
        "sample sheet if they are reflectance that may be clipped"
    )


def _check_scaled(
    low: float,
    high: float,
    path: str,
    refused: type[SourceError],
    *,
    scale: Sequence[float],
    offset: Sequence[float],
) -> None:
    if not (low >= LOWEST and high <= HIGHEST):
        raise refused(
            f"{path} has reflectance from {low:g} to {high:g} with scale {scale[0]:g} and offset "
            f"{offset[0]:g}: correct scale=, offset= or baseline= in the metadata column of the "
            "sample sheet"
        )


def _unscaled(known: NDArray[Any], path: str) -> str:
    """Return the error message for integers without a scale."""
    holds = f"{path} holds whole numbers ({known.dtype}, {known.min()} to {known.max()}) instead "
    if known.dtype.itemsize == 1:
        return f"{holds}of reflectance in [0, 1]: {_BYTES}"
    return f"{holds}of reflectance in [0, 1]: {_ASK}, or divide them by 10000"
