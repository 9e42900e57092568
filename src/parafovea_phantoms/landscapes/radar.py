"""Simulated radar images at 5.4 GHz: VV and VH backscatter with speckle.

The levels are rounded from Sentinel-1 measurements: crops by their cover, as in Veloso et al.
2017, "Understanding the temporal behavior of crops using Sentinel-1 and Sentinel-2-like data",
Remote Sensing of Environment 199, 415-426; smooth water below any land, rough forest bright in VH,
houses brightest in VV because of double bounce.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parafovea_phantoms.landscapes.ground import Cover
from parafovea_phantoms.landscapes.random_fields import Field, hashed, key_of, mixed, uniform
from parafovea_phantoms.landscapes.surface import Surface

#: Polarizations, in the order of every array of backscatter.
POLARIZATIONS = ("VV", "VH")

#: Decibels that map to 0 and 1, by polarization.
DECIBELS = ((-25.0, 0.0), (-32.0, -5.0))

#: Number of independent looks.
LOOKS = 4

#: Backscatter in decibels (VV, VH) of land cover that does not depend on vegetation.
_LEVELS = {
    Cover.SOIL: (-13.0, -22.5),
    Cover.GRASS: (-12.5, -20.0),
    Cover.BROADLEAF: (-8.3, -13.6),
    Cover.CONIFER: (-8.8, -14.6),
    Cover.WATER: (-21.5, -28.5),
    Cover.ROAD: (-15.5, -23.0),
    Cover.SETTLEMENT: (-2.5, -10.5),
}


def backscatter(surface: Surface) -> NDArray[np.float64]:
    """Return the backscatter (VV and VH, y, x) without speckle, as linear intensity."""
    land = surface.ground
    levels = np.zeros((2, *land.cover.shape))
    for cover, (vv, vh) in _LEVELS.items():
        where = land.cover == cover
        levels[0][where], levels[1][where] = vv, vh
    # ploughed or rolled soil; plants attenuate VV slightly and depolarize
    rough = uniform(mixed(land.bits, 41))
    crop = land.cover == Cover.CROP
    field = (
        -13.5 + 4.5 * rough + 1.5 * land.rows - 1.5 * surface.green,
        -23.0 + 2.5 * rough + 5.5 * surface.green,
    )
    for level, value in zip(levels, field, strict=True):
        np.copyto(level, value, where=crop)
    waves = 1.5 * (uniform(mixed(land.bits, 42)) - 0.5)
    levels[0] += np.where(land.cover == Cover.SETTLEMENT, 4 * waves, 0)
    levels[1] += np.where(land.cover == Cover.GRASS, 1.5 * (surface.green - 0.5), 0)
    out: NDArray[np.float64] = 10 ** (levels / 10)
    return out


def speckle(key: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Field:
    """Return speckle of `LOOKS` looks, gamma distributed: mean 1, variance 1 / `LOOKS`.

    The intensity of a look is exponentially distributed: minus the logarithm of a uniform number.

    Parameters
    ----------
    key : int
        Random key of the polarization and date.
    rows, columns : ndarray
        Pixels, (y,) and (x,).

    Returns
    -------
    ndarray
        (y, x) float64.
    """
    bits = hashed(key, rows[:, None], columns[None, :])
    product = np.ones(bits.shape)
    for look in range(1, LOOKS + 1):
        product *= 1 - uniform(mixed(bits, look))
    return -np.log(product) / LOOKS


def scaled(intensity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert intensities (VV and VH, y, x) to decibels, scaled by `DECIBELS` to [0, 1]."""
    levels = 10 * np.log10(np.maximum(intensity, 1e-6))
    ranges = np.array(DECIBELS)[:, :, None, None]
    out: NDArray[np.float64] = np.clip(
        (levels - ranges[:, 0]) / (ranges[:, 1] - ranges[:, 0]), 0, 1
    )
    return out


def radar_image(
    intensity: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    *,
    seed: int,
    month: int,
) -> NDArray[np.float64]:
    """Return the radar image of a date, (VV and VH, y, x) in [0, 1].

    Parameters
    ----------
    intensity : ndarray
        (VV and VH, y, x), linear.
    rows, columns : ndarray
        Pixels of the image in the landscape, (y,) and (x,).
    seed, month : int
        Seed of the landscape, and month of the date.
    """
    seen = [
        plane * speckle(key_of(seed, "speckle", name, month), rows, columns)
        for name, plane in zip(POLARIZATIONS, intensity, strict=True)
    ]
    return scaled(np.stack(seen))
