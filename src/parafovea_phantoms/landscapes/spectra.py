"""Reflectance of surface materials in Sentinel-2's bands B02 B03 B04 B08.

A pixel is a mixture of green plants, dry plants and soil (Roberts et al. 1993, "Green vegetation,
nonphotosynthetic vegetation, and soils in AVIRIS data", Remote Sensing of Environment 44, 255-269).
The values are typical and rounded: soils, plants, water and roofs from the ECOSTRESS library
(Meerdink et al. 2019, Remote Sensing of Environment 230, 111196), estimated by eye for the bands of
Drusch et al. 2012, "Sentinel-2: ESA's optical high-resolution mission", Remote Sensing of
Environment 120, 25-36.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea.formats.bands import OPTICAL
from parafovea_phantoms.landscapes.random_fields import Field

#: Names of the bands, in the order of every array of reflectance.
BANDS = OPTICAL

#: Reflectance (B02, B03, B04, B08).
Spectrum = tuple[float, float, float, float]

SOILS: dict[str, Spectrum] = {
    "brown": (0.065, 0.092, 0.125, 0.195),
    "dark": (0.045, 0.062, 0.080, 0.130),
    "red": (0.055, 0.085, 0.155, 0.235),
    "sand": (0.150, 0.220, 0.295, 0.370),
    "rock": (0.115, 0.135, 0.155, 0.185),
}

#: Closed green canopies.
CROP: Spectrum = (0.025, 0.058, 0.030, 0.450)
GRASS: Spectrum = (0.030, 0.068, 0.042, 0.360)
BROADLEAF: Spectrum = (0.020, 0.043, 0.024, 0.370)
CONIFER: Spectrum = (0.017, 0.031, 0.021, 0.225)

#: Non-green vegetation: straw and dead grass, twigs of bare trees, a rape field in flower.
STRAW: Spectrum = (0.085, 0.125, 0.165, 0.275)
TWIGS: Spectrum = (0.038, 0.050, 0.058, 0.150)
FLOWERS: Spectrum = (0.045, 0.130, 0.105, 0.420)

CLEAR_WATER: Spectrum = (0.030, 0.032, 0.018, 0.009)
TURBID_WATER: Spectrum = (0.048, 0.072, 0.056, 0.026)

ASPHALT: Spectrum = (0.085, 0.095, 0.105, 0.135)
TRACK: Spectrum = (0.115, 0.150, 0.190, 0.260)

ROOFS: tuple[Spectrum, ...] = (
    (0.085, 0.105, 0.165, 0.215),
    (0.075, 0.090, 0.125, 0.175),
    (0.235, 0.245, 0.255, 0.285),
    (0.115, 0.125, 0.135, 0.160),
)


@dataclass(frozen=True)
class Season:
    """Green cover over the year as a double logistic curve.

    See Beck et al. 2006, "Improved monitoring of vegetation dynamics at very high latitudes",
    Remote Sensing of Environment 100, 321-334.

    Parameters
    ----------
    rise, fall : float
        Days of the year of the fastest greening and the fastest senescence.
    speed : float
        Rate of greening, per day; senescence is 1.5 times as fast.
    base, peak : float
        Green cover in the off-season and at the peak.
    """

    rise: float
    fall: float
    speed: float
    base: float
    peak: float

    def cover(self, day: NDArray[np.float64]) -> Field:
        """Return the green cover, in [0, 1], at days of the year (any axes)."""
        greened = _logistic(self.speed * (day - self.rise))
        browned = _logistic(1.5 * self.speed * (day - self.fall))
        return self.base + (self.peak - self.base) * greened * (1 - browned)

    def straw(self, day: NDArray[np.float64]) -> Field:
        """Return the cover by dry plants, which follows senescence and decays over months."""
        browned = _logistic(1.5 * self.speed * (day - self.fall))
        left = np.exp(-np.maximum(day - self.fall, 0) / 45)
        return 0.75 * (self.peak - self.base) * browned * left


def _logistic(values: NDArray[np.float64]) -> Field:
    out: Field = 1 / (1 + np.exp(-np.clip(values, -60, 60)))
    return out


#: Crops of the temperate biome: winter cereals, rape, maize, beet, clover.
CEREAL, RAPE, MAIZE, BEET, CLOVER = range(5)
CROPS: tuple[Season, ...] = (
    Season(98, 188, 0.075, 0.12, 0.92),
    Season(82, 182, 0.080, 0.35, 0.93),
    Season(168, 262, 0.100, 0.03, 0.95),
    Season(158, 292, 0.090, 0.03, 0.92),
    Season(85, 300, 0.060, 0.40, 0.88),
)

#: Shares of the crops.
CROP_SHARES = (0.38, 0.12, 0.24, 0.10, 0.16)

#: First and last day of the year of rape flowering.
FLOWERING = (112, 142)

GRASSLAND = Season(88, 262, 0.050, 0.0, 1.0)
LEAVES = Season(112, 294, 0.110, 0.0, 1.0)


def season_day(day: float, *, shift: float, length: float) -> float:
    """Return the day of the temperate season that corresponds to `day` in another biome.

    Parameters
    ----------
    day : float
        Day of the year.
    shift : float
        Delay of the other season, in days.
    length : float
        Length of the other season, relative to the temperate one, whose middle is day 190.
    """
    since = math.remainder(day - shift - 190, 365)
    return 190 + since / length


def mixture(parts: list[tuple[Field, Spectrum]]) -> NDArray[np.float64]:
    """Return the reflectance of mixed pixels: (band, y, x), shares times spectra.

    Parameters
    ----------
    parts : list of (ndarray, spectrum)
        The share of each part, (y, x), and its reflectance.
    """
    return np.stack([sum(share * spectrum[band] for share, spectrum in parts) for band in range(4)])
