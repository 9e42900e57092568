"""From the numbers in a file to reflectance in [0, 1], and what cannot be converted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError

#: Reflectance of one digital number of Sentinel-2 (1 / QUANTIFICATION_VALUE).
DN_SCALE = 1e-4

#: Added to the reflectance from processing baseline N0400 on (ADD_OFFSET, -1000 digital numbers).
DN_OFFSET = -0.1

#: Values that claim to lie in [0, 1] may pass it by rounding, this far.
TOLERANCE = 1e-3

#: Scaled reflectance outside of this comes from a wrong scale, not from a bright cloud. The
#: largest digital number of Sentinel-2, 65535, is 6.6.
LOWEST, HIGHEST = -1.0, 10.0

_ASK = "write baseline=0400 (or scale= and offset=) in the metadata column of the sample sheet"


def measured(stored: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Return which pixels have a measurement in all bands, or None where all have.

    Parameters
    ----------
    stored : ndarray
        (band, y, x), numbers as the file has them.
    nodata : float or None
        Number that marks a missing value; may be NaN.

    Returns
    -------
    ndarray or None
        (y, x) bool.
    """
    if nodata is None:
        return None
    missing = np.isnan(stored) if np.isnan(nodata) else stored == nodata
    valid: NDArray[np.bool_] = ~missing.any(axis=0)
    return None if valid.all() else valid


def to_reflectance(
    stored: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    path: str,
    *,
    scale: Sequence[float] | None,
    offset: Sequence[float] | None,
    refused: type[SourceError] = SourceError,
) -> tuple[NDArray[np.float32], int]:
    """Return reflectance in [0, 1].

    Without a scale, values have to lie in [0, 1] within `TOLERANCE`. With one, reflectance beyond
    (clouds, and dark water under an offset) is clipped and counted.

    Parameters
    ----------
    stored : ndarray
        (band, y, x), numbers as the file has them.
    valid : ndarray or None
        (y, x) bool; pixels that are false are not looked at, and become 0.
    path : str
        For messages.
    scale, offset : sequence of float, optional
        A number each band: reflectance = stored * scale + offset.
    refused : type
        Error to raise.

    Returns
    -------
    values : ndarray
        (band, y, x) float32 in [0, 1].
    clipped : int
        Valid values that the scale had put outside [0, 1] by more than rounding.

    Raises
    ------
    SourceError
        Of the type `refused`: if valid values are NaN or infinite, or cannot be reflectance.
    """
    inside = slice(None) if valid is None else valid
    known = stored[:, inside]
    if not known.size:
        return np.zeros(stored.shape, np.float32), 0
    if np.issubdtype(known.dtype, np.floating):
        _check_finite(known, path, refused)
    elif scale is None:
        raise refused(
            f"{path} holds whole numbers ({known.dtype}, {known.min()} to {known.max()}) instead "
            f"of reflectance in [0, 1]: {_ASK}, or divide them by 10000"
        )
    if scale is None or offset is None:
        clipped = 0
        _check_range(known, path, refused)
        values = stored.astype(np.float32)
    else:
        factor, added = (
            np.asarray(numbers, np.float32)[:, None, None] for numbers in (scale, offset)
        )
        with np.errstate(over="ignore", invalid="ignore"):  # at invalid pixels
            values = stored.astype(np.float32) * factor + added
        clipped = _count_outside(values[:, inside], path, refused, scale=scale, offset=offset)
    np.clip(values, 0, 1, out=values)
    if valid is not None:
        values[:, ~valid] = 0
    return values, clipped


def fill(values: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Return values with the nearest valid pixel repeated wherever a pixel is not valid.

    Parameters
    ----------
    values : ndarray
        (band, y, x).
    valid : ndarray or None
        (y, x) bool, true somewhere; None where all pixels are valid.
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
        "write nodata=nan in the metadata column of the sample sheet if NaN marks missing pixels"
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
            "for radar in decibels, the scale and offset that take it there"
        )
    raise refused(
        f"{path} has {found}: correct the file, or write scale=1 in the metadata column of the "
        "sample sheet if they are reflectance that may be clipped"
    )


def _count_outside(
    known: NDArray[np.float32],
    path: str,
    refused: type[SourceError],
    *,
    scale: Sequence[float],
    offset: Sequence[float],
) -> int:
    low, high = float(known.min()), float(known.max())
    with_scale = f"with scale {scale[0]:g} and offset {offset[0]:g}"
    if not (low >= LOWEST and high <= HIGHEST):
        raise refused(
            f"{path} has reflectance from {low:g} to {high:g} {with_scale}: correct scale=, "
            "offset= or baseline= in the metadata column of the sample sheet"
        )
    return int(((known < -TOLERANCE) | (known > 1 + TOLERANCE)).sum())
