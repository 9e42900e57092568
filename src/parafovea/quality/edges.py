"""What a refinement does to the edges: how alike their strength is, and how far they moved."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage
from skimage.registration import phase_cross_correlation

Array = np.ndarray[Any, Any]

#: Least standard deviation of an edge map that tells anything, in reflectance times the Sobel
#: filter's gain: below it lies what float32 rounds away. A correlation would be one of rounding.
FLAT = 1e-6

#: Parts of a pixel that a displacement is told in.
UPSAMPLING = 20


def edge_strength(band: Array) -> Array:
    """Return the length of the Sobel gradient, borders mirrored.

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
    """Return Pearson's correlation of the edge strengths of two bands.

    Parameters
    ----------
    image, reference : (y, x) float
        One band, the near infrared by convention. Reflectance in [0, 1].
    valid : (y, x) bool, optional
        Pixels that count; all by default. Those whose Sobel neighbourhood is not valid are left
        out, too.

    Returns
    -------
    float or None
        In [-1, 1]; None where either tile is flat (see `FLAT`), or no two pixels count.
    """
    maps = _edge_maps(image, reference, valid)
    if maps is None:
        return None
    first, second, inside = maps
    return float(np.clip(np.corrcoef(first[inside], second[inside])[0, 1], -1, 1))


def edge_displacement(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return how far the edges of a band lie from those of another, in pixels.

    Parameters
    ----------
    image, reference, valid
        As for `edge_correlation`.

    Returns
    -------
    float or None
        Length of the one shift that makes the edge maps correlate most, to 1 / `UPSAMPLING` of a
        pixel; None where either tile is flat. The shift is that of
        `skimage.registration.phase_cross_correlation` (Guizar-Sicairos et al., "Efficient subpixel
        image registration algorithms", 2008), without whitening, which would listen to the noise.
    """
    maps = _edge_maps(image, reference, valid)
    if maps is None:
        return None
    first, second, inside = maps
    # what does not count has the strength of the mean, so that the mask's shape draws no edge
    levelled = [np.where(inside, each - each[inside].mean(), 0) for each in (second, first)]
    shift, _, _ = phase_cross_correlation(*levelled, upsample_factor=UPSAMPLING, normalization=None)
    return float(np.hypot(*shift))


def _edge_maps(
    image: Array, reference: Array, valid: Array | None
) -> tuple[Array, Array, Array] | None:
    """Return both edge maps and where they hold, or None where either is flat."""
    if valid is None:
        inside = np.ones(np.shape(image), bool)
        first, second = edge_strength(image), edge_strength(reference)
    else:
        inside = sobel_valid(valid)
        first, second = (edge_strength(np.where(valid, each, 0)) for each in (image, reference))
    if not inside.any() or min(each[inside].std() for each in (first, second)) <= FLAT:
        return None
    return first, second, inside
