"""Contrast stretch of bands, shared between images."""

from __future__ import annotations

from typing import Any

import numpy as np

from parafovea.quality.tiles.image_metrics import BANDS, BLUE, GREEN, RED
from parafovea.report.tiles.panels import NOTHING

Array = np.ndarray[Any, Any]

#: Percentiles mapped to black and white.
STRETCH = (2, 98)

#: Minimum span of a stretch in reflectance, so that a flat tile gets no spurious colours.
LEAST_SPAN = 0.05

#: Bands of a natural-colour image.
COLOURS = (RED, GREEN, BLUE)


def stretch_of(image: Array) -> Array:
    """Return the values mapped to black and white in each band.

    Parameters
    ----------
    image : (band, y, x) float
        Image; non-finite values are ignored.

    Returns
    -------
    (band, 2) float64
        The `STRETCH` percentiles, at least `LEAST_SPAN` apart; 0 and 1 without finite values. Per
        band, since haze raises the blue band far above the red one.
    """
    ends = []
    for band in image:
        known = band[np.isfinite(band)].astype(float)
        low, high = np.percentile(known, STRETCH) if known.size else (0.0, 1.0)
        lacking = max(0.0, LEAST_SPAN - (high - low)) / 2
        ends.append((low - lacking, high + lacking))
    return np.array(ends)


def natural(image: Array, stretch: Array) -> Array:
    """Return an optical image in natural colours, (y, x, 3) in [0, 1].

    Parameters
    ----------
    image : (band, y, x) float
        Reflectance; pixels with a non-finite colour become grey.
    stretch : (band, 2) float
        Stretch from `stretch_of`.
    """
    bands = [grey(image, stretch, band)[..., 0] for band in COLOURS]
    known = np.asarray(np.isfinite(image[list(COLOURS)]).all(axis=0))
    return np.where(known[..., None], np.stack(bands, axis=-1), NOTHING)


def grey(image: Array, stretch: Array, band: int) -> Array:
    """Return one band as grey values, (y, x, 3) in [0, 1]; see `natural`."""
    low, high = stretch[band]
    scaled = np.clip((image[band] - low) / (high - low), 0, 1)
    return np.repeat(np.where(np.isfinite(image[band]), scaled, NOTHING)[..., None], 3, axis=2)


def stretch_words(stretch: Array, bands: tuple[int, ...]) -> str:
    """Return a stretch as text: "B04 0.03 to 0.11, B03 0.05 to 0.12"."""
    return ", ".join(f"{BANDS[b]} {stretch[b][0]:z.3f} to {stretch[b][1]:z.3f}" for b in bands)
