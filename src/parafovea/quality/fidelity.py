"""How close a tile is to its truth: peak signal-to-noise ratio and structural similarity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity

from parafovea.quality.spectral import rmse

Array = np.ndarray[Any, Any]

#: The Gaussian window of Wang et al. (2004): its deviation and its side, in pixels.
SIGMA = 1.5
WINDOW = 11


def psnr(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the peak signal-to-noise ratio of reflectances, whose range is 1.

    Parameters
    ----------
    image, reference : (band, y, x) float
        Reflectance in [0, 1].
    valid : (y, x) bool, optional
        Pixels that count; all by default.

    Returns
    -------
    float or None
        -20 log10(RMSE), in decibels; None where it is infinite, which is where the images are the
        same, or where no pixel counts.
    """
    return psnr_of(rmse(image, reference, valid))


def psnr_of(error: float | None) -> float | None:
    """Return the peak signal-to-noise ratio of an RMSE, in decibels; None where it is infinite."""
    return -20 * math.log10(error) if error else None


def ssim(image: Array, reference: Array, valid: Array | None = None) -> float | None:
    """Return the mean structural similarity over bands and pixels.

    Parameters
    ----------
    image, reference : (band, y, x) float
        Reflectance in [0, 1].
    valid : (y, x) bool, optional
        Pixels that count; all by default. Those whose window is not valid are left out, too.

    Returns
    -------
    float or None
        In [-1, 1]; None where the tile is smaller than a window, or no pixel counts. Wang et al.,
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
    # a window that reaches over the border does not count, as in the paper
    whole = ndimage.binary_erosion(inside, side, border_value=0)
    chosen = similarity[:, whole]
    return float(chosen.mean()) if chosen.size else None
