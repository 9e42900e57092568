"""Which reflectances are drawn black and white: a stretch of each band, from one image for many."""

from __future__ import annotations

from typing import Any

import numpy as np

from parafovea.quality.tiles.image_metrics import BANDS, BLUE, GREEN, RED
from parafovea.report.tiles.panels import NOTHING

Array = np.ndarray[Any, Any]

#: Percentiles that black and white stand for.
STRETCH = (2, 98)

#: Least span of a stretch, in reflectance: a flat tile shows no colours that it does not have.
LEAST_SPAN = 0.05

#: Bands of a picture in natural colours.
COLOURS = (RED, GREEN, BLUE)


def stretch_of(image: Array) -> Array:
    """Return the values that are black and white in each band.

    Parameters
    ----------
    image : (band, y, x) float
        Values that are not finite do not count.

    Returns
    -------
    (band, 2) float64
        The `STRETCH` percentiles, at least `LEAST_SPAN` apart; 0 and 1 where nothing counts. Each
        band has its own, since haze lifts the blue one far above the red one.
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
        Reflectance; grey where any of the colours is not finite.
    stretch : (band, 2) float
        As `stretch_of` returns it.
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
    """Return a stretch in words: "B04 0.03 to 0.11, B03 0.05 to 0.12"."""
    return ", ".join(f"{BANDS[b]} {stretch[b][0]:.3f} to {stretch[b][1]:.3f}" for b in bands)
