"""What a refinement does to the colours: vegetation indices, spectral angle, bias of each band.

Tiles are (band, y, x) reflectances in [0, 1], bands in the order of `BANDS`. Sums are in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parafovea.readers.bands import OPTICAL

Array = np.ndarray[Any, Any]

#: Sentinel-2 bands of a tile, in order: blue, green, red, near infrared.
BANDS = OPTICAL
BLUE, GREEN, RED, NIR = range(4)

#: Keeps the NDVI of a pixel without any light defined: 0.
EPSILON = 1e-8

#: Least denominator of the EVI. It passes through 0 over clouds and snow, where the index runs to
#: infinity and says nothing of plants.
EVI_LEAST = 0.1


def ndvi(tile: Array) -> Array:
    """Return the normalized difference vegetation index, (N - R) / (N + R + 1e-8).

    Parameters
    ----------
    tile : (band, y, x) float
        Reflectance in [0, 1].

    Returns
    -------
    (y, x) float64
        In [-1, 1]; 0 where both bands are 0. Rouse et al., "Monitoring vegetation systems in the
        Great Plains with ERTS" (1974).
    """
    red, nir = np.asarray(tile[RED], float), np.asarray(tile[NIR], float)
    return np.asarray((nir - red) / (nir + red + EPSILON))


def evi(tile: Array) -> Array:
    """Return the enhanced vegetation index, 2.5 (N - R) / (N + 6 R - 7.5 B + 1).

    Parameters
    ----------
    tile : (band, y, x) float
        Reflectance in [0, 1].

    Returns
    -------
    (y, x) float64
        NaN where the denominator is below `EVI_LEAST`. Huete et al., "Overview of the radiometric
        and biophysical performance of the MODIS vegetation indices" (2002).
    """
    blue, red, nir = (np.asarray(tile[band], float) for band in (BLUE, RED, NIR))
    below = nir + 6 * red - 7.5 * blue + 1
    defined = below >= EVI_LEAST
    return np.where(defined, 2.5 * (nir - red) / np.where(defined, below, 1), np.nan)


def rmse(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the root of the mean squared difference.

    Parameters
    ----------
    image, reference : (..., y, x) float
        Of one shape.
    valid : (y, x) bool, optional
        Pixels that count; all by default.

    Returns
    -------
    float or None
        In the unit of the images; None where no pixel counts.
    """
    squares, count = squared_error(image, reference, valid)
    return math.sqrt(squares / count) if count else None


def squared_error(image: Array, reference: Array, valid: Array | None = None) -> tuple[float, int]:
    """Return the sum of squared differences and the number of values: those of tiles add up.

    Parameters
    ----------
    image, reference, valid
        As for `rmse`.
    """
    difference = np.asarray(image, float) - np.asarray(reference, float)
    chosen = difference if valid is None else difference[..., valid]
    return float(np.square(chosen).sum()), chosen.size


def ndvi_rmse(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the RMSE of the NDVI: see `ndvi` and `rmse`."""
    return rmse(ndvi(image), ndvi(reference), valid)


def evi_rmse(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the RMSE of the EVI over the pixels where both images have one: see `evi`."""
    first, second = evi(image), evi(reference)
    both = np.isfinite(first) & np.isfinite(second)
    return rmse(first, second, both if valid is None else both & valid)


def spectral_angle(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the mean angle between the spectra of the pixels, in degrees.

    Parameters
    ----------
    image, reference : (band, y, x) float
        Reflectance in [0, 1].
    valid : (y, x) bool, optional
        Pixels that count; all by default. One that is 0 in all bands of either image has no
        spectrum and does not count.

    Returns
    -------
    float or None
        In [0, 180]; None where no pixel counts. Kruse et al., "The spectral image processing
        system (SIPS)" (1993); the angle as Kahan's 2 atan2(|u - v|, |u + v|) of the unit vectors,
        which keeps its digits near 0.
    """
    pair = [np.asarray(each, float).reshape(len(each), -1) for each in (image, reference)]
    lengths = [np.linalg.norm(each, axis=0) for each in pair]
    chosen = (lengths[0] > 0) & (lengths[1] > 0)
    if valid is not None:
        chosen &= valid.reshape(-1)
    if not chosen.any():
        return None
    first, second = (
        each[:, chosen] / length[chosen] for each, length in zip(pair, lengths, strict=True)
    )
    angles = 2 * np.arctan2(
        np.linalg.norm(first - second, axis=0), np.linalg.norm(first + second, axis=0)
    )
    return float(np.degrees(angles.mean()))


def band_bias(
    image: Array, reference: Array, valid: Array | None = None
) -> tuple[float, ...] | None:
    """Return the mean of image minus reference for each band.

    Parameters
    ----------
    image, reference : (band, y, x) float
        Reflectance in [0, 1].
    valid : (y, x) bool, optional
        Pixels that count; all by default.

    Returns
    -------
    tuple of float or None
        Reflectance; None where no pixel counts.
    """
    difference = np.asarray(image, float) - np.asarray(reference, float)
    chosen = difference.reshape(len(difference), -1) if valid is None else difference[:, valid]
    return tuple(float(each) for each in chosen.mean(axis=1)) if chosen.size else None
