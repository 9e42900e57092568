"""Similarity of an image to its truth: PSNR, SSIM, vegetation indices, spectral angle, edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity
from skimage.registration import phase_cross_correlation

from parafovea.formats.bands import OPTICAL
from parafovea.quality.tiles.targets import BRIGHT

Array = np.ndarray[Any, Any]

#: The Gaussian window of Wang et al. (2004): its standard deviation and side, in pixels.
SIGMA = 1.5
WINDOW = 11


def psnr(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the peak signal-to-noise ratio of reflectance, with a range of 1.

    Parameters
    ----------
    image, reference : (band, y, x) float
        Reflectance in [0, 1].
    valid : (y, x) bool, optional
        Pixels to include; all by default.

    Returns
    -------
    float or None
        -20 log10(RMSE), in decibels; None if it is infinite because the images are equal, or if
        no pixel is included.
    """
    return psnr_of(rmse(image, reference, valid))


def psnr_of(error: float | None) -> float | None:
    """Return the peak signal-to-noise ratio of an RMSE, in decibels; None if it is infinite."""
    return -20 * math.log10(error) if error else None


def ssim(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the mean structural similarity over bands and pixels.

    Parameters
    ----------
    image, reference : (band, y, x) float
        Reflectance in [0, 1].
    valid : (y, x) bool, optional
        Pixels to include; all by default. Pixels whose window is not valid are also excluded.

    Returns
    -------
    float or None
        In [-1, 1]; None if the tile is smaller than a window, or no pixel is included. Wang et al.,
        "Image quality assessment" (2004): Gaussian weights of `SIGMA` in a window of `WINDOW`,
        population covariance, range 1.
    """
    if min(image.shape[1:]) < WINDOW:
        return None
    inside = np.ones(image.shape[1:], bool) if valid is None else valid
    pair = [np.where(inside, np.asarray(each, float), 0) for each in (image, reference)]
    _, similarity = structural_similarity(
        *pair,
        data_range=1.0,
        channel_axis=0,
        gaussian_weights=True,
        sigma=SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    side = np.ones((WINDOW, WINDOW), bool)
    # windows that cross the border are excluded, as in the paper
    whole = ndimage.binary_erosion(inside, side, border_value=0)
    chosen = similarity[:, whole]
    return float(chosen.mean()) if chosen.size else None


#: Sentinel-2 bands of a tile, in order: blue, green, red, near infrared.
BANDS = OPTICAL
BLUE, GREEN, RED, NIR = range(4)

#: Offset of the denominator, which makes the NDVI of a pixel without any light 0.
EPSILON = 1e-8

#: Minimum denominator of the EVI. It passes through 0 over clouds and snow, where the index
#: diverges and contains no information on vegetation.
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
    return vegetation_index(tile[RED], tile[NIR])


def vegetation_index(red: Array, near_infrared: Array) -> Array:
    """Return `ndvi` of two bands of equal shape, as float64."""
    red, nir = np.asarray(red, float), np.asarray(near_infrared, float)
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
        NaN if the denominator is below `EVI_LEAST`. Huete et al., "Overview of the radiometric
        and biophysical performance of the MODIS vegetation indices" (2002).
    """
    blue, red, nir = (np.asarray(tile[band], float) for band in (BLUE, RED, NIR))
    below = nir + 6 * red - 7.5 * blue + 1
    defined = below >= EVI_LEAST
    return np.where(defined, 2.5 * (nir - red) / np.where(defined, below, 1), np.nan)


def rmse(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the root mean squared difference.

    Parameters
    ----------
    image, reference : (..., y, x) float
        Images of equal shape.
    valid : (y, x) bool, optional
        Pixels to include; all by default.

    Returns
    -------
    float or None
        In the unit of the images; None if no pixel is included.
    """
    squares, count = squared_error(image, reference, valid)
    return math.sqrt(squares / count) if count else None


def squared_error(image: Array, reference: Array, valid: Array | None = None) -> tuple[float, int]:
    """Return the sum of squared differences and the number of values, which are additive.

    Parameters
    ----------
    image, reference, valid
        As for `rmse`.
    """
    difference = np.asarray(image, float) - np.asarray(reference, float)
    chosen = difference if valid is None else difference[..., valid]
    return float(np.square(chosen).sum()), chosen.size


def ndvi_rmse(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the RMSE of the NDVI; see `ndvi` and `rmse`."""
    return rmse(ndvi(image), ndvi(reference), valid)


def bright_ndvi_rmse(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the RMSE of the NDVI over the bright pixels of the reference; see `BRIGHT`."""
    bright = np.asarray(reference[RED], float) + np.asarray(reference[NIR], float) >= BRIGHT
    return ndvi_rmse(image, reference, bright if valid is None else bright & valid)


def evi_rmse(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the RMSE of the EVI over the pixels where both images have one; see `evi`."""
    first, second = evi(image), evi(reference)
    both = np.isfinite(first) & np.isfinite(second)
    return rmse(first, second, both if valid is None else both & valid)


def spectral_angle(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the mean angle between the spectra of corresponding pixels, in degrees.

    Parameters
    ----------
    image, reference : (band, y, x) float
        Reflectance in [0, 1].
    valid : (y, x) bool, optional
        Pixels to include; all by default. A pixel that is 0 in all bands of either image has no
        spectrum and is excluded.

    Returns
    -------
    float or None
        In [0, 180]; None if no pixel is included. Kruse et al., "The spectral image processing
        system (SIPS)" (1993); the angle as Kahan's 2 atan2(|u - v|, |u + v|) of the unit vectors,
        which is accurate near 0.
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
        Pixels to include; all by default.

    Returns
    -------
    tuple of float or None
        Mean difference in reflectance; None if no pixel is included.
    """
    difference = np.asarray(image, float) - np.asarray(reference, float)
    chosen = difference.reshape(len(difference), -1) if valid is None else difference[:, valid]
    return tuple(float(each) for each in chosen.mean(axis=1)) if chosen.size else None


#: Minimum standard deviation of an edge map for a comparison, in reflectance times the gain of the
#: Sobel filter. Below it, a correlation would be one of float32 rounding errors.
FLAT = 1e-6

#: Displacements are measured to this fraction of a pixel.
UPSAMPLING = 20


def edge_strength(band: Array) -> Array:
    """Return the magnitude of the Sobel gradient, with mirrored borders.

    Parameters
    ----------
    band : (y, x) float
        Reflectance in [0, 1].

    Returns
    -------
    (y, x) float64
        sqrt(Gy² + Gx²) of `scipy.ndimage.sobel`, whose gain is 8: a ramp of 0.01 a pixel has 0.08.
    """
    values = np.asarray(band, float)
    down, across = (ndimage.sobel(values, axis=axis, mode="reflect") for axis in (0, 1))
    return np.asarray(np.sqrt(down**2 + across**2))


def sobel_valid(valid: Array) -> Array:
    """Return the pixels whose 3 × 3 neighbourhood within the tile is valid, (y, x) bool."""
    return np.asarray(ndimage.binary_erosion(valid, np.ones((3, 3), bool), border_value=1))


def edge_correlation(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return Pearson's correlation between the edge strengths of two bands.

    Parameters
    ----------
    image, reference : (y, x) float
        One band, the near infrared by convention. Reflectance in [0, 1].
    valid : (y, x) bool, optional
        Pixels to include; all by default. Pixels whose Sobel neighbourhood is not valid are also
        excluded.

    Returns
    -------
    float or None
        In [-1, 1]; None if either tile is flat (see `FLAT`), or fewer than two pixels are included.
    """
    maps = _edge_maps(image, reference, valid)
    if maps is None:
        return None
    first, second, inside = maps
    return float(np.clip(np.corrcoef(first[inside], second[inside])[0, 1], -1, 1))


def edge_displacement(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the displacement between the edges of two bands, in pixels.

    Parameters
    ----------
    image, reference, valid
        As for `edge_correlation`.

    Returns
    -------
    float or None
        Length of the global shift that maximizes the correlation of the edge maps, to 1 /
        `UPSAMPLING` of a pixel; None if either tile is flat. The shift is that of
        `skimage.registration.phase_cross_correlation` (Guizar-Sicairos et al., "Efficient subpixel
        image registration algorithms", 2008), without whitening, which would amplify noise.
    """
    maps = _edge_maps(image, reference, valid)
    if maps is None:
        return None
    first, second, inside = maps
    # excluded pixels are set to the mean strength, so that the mask itself creates no edge
    levelled = [np.where(inside, each - each[inside].mean(), 0) for each in (second, first)]
    shift, _, _ = phase_cross_correlation(*levelled, upsample_factor=UPSAMPLING, normalization=None)
    return float(np.hypot(*shift))


def _edge_maps(
    image: Array, reference: Array, valid: Array | None
) -> tuple[Array, Array, Array] | None:
    """Return both edge maps and their valid pixels, or None if either is flat."""
    if valid is None:
        inside = np.ones(np.shape(image), bool)
        first, second = edge_strength(image), edge_strength(reference)
    else:
        inside = sobel_valid(valid)
        first, second = (edge_strength(np.where(valid, each, 0)) for each in (image, reference))
    if not inside.any() or min(each[inside].std() for each in (first, second)) <= FLAT:
        return None
    return first, second, inside
