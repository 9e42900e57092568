"""Properties of landscapes by biome: season, vegetation, soil, land use.

The codes 1 to 14 are the biomes of Olson et al. 2001, "Terrestrial ecoregions of the world",
BioScience 51(11), 933-938, in their order; 0 is an unspecified mixed landscape, and 15 is rock.
Shares and seasons are rounded typical values for the northern hemisphere; they suit a phantom, not
a map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from parafovea.errors import ConfigError

#: Hour angle of the sun at Sentinel-2's overpass, 10:30 in the morning; noon is 0.
HOUR_ANGLE = math.radians(-22.5)

#: Minimum height of the sun, also for polar winters.
LOWEST_SUN = math.radians(15)


@dataclass(frozen=True)
class Biome:
    """A kind of landscape.

    Parameters
    ----------
    name : str
        Name of the biome.
    latitude : float
        Latitude in degrees, for the height of the sun.
    water, forest, farmed : float
        Shares of the area with lakes, with forest, and with fields.
    villages : float
        Share of the communes with a village.
    conifers : float
        Share of conifers in the forest.
    evergreen : float
        Share of evergreen trees among the broadleaved ones.
    soil : str
        Colour of the soil; a key of `landscape_spectra.SOILS`.
    cover : float
        Green cover of uncultivated land at the peak of the season.
    winter : float
        Share of this cover that remains in the off-season.
    shift : float
        Delay of the season relative to the temperate biome, in days.
    length : float
        Length of the season, relative to the temperate biome.
    relief : float
        Strength of the relief: standard deviation of the slope.
    """

    name: str
    latitude: float
    water: float
    forest: float
    farmed: float
    villages: float
    conifers: float
    evergreen: float
    soil: str
    cover: float
    winter: float
    shift: float
    length: float
    relief: float


#: Biomes by code.
BIOMES: tuple[Biome, ...] = (
    Biome("mixed", 47, 0.03, 0.27, 0.75, 0.5, 0.4, 0.0, "brown", 0.8, 0.4, 0, 1.0, 0.05),
    Biome(
        "tropical moist forest", 8, 0.05, 0.72, 0.35, 0.3, 0.0, 1.0, "red", 0.95, 0.9, 40, 1.6, 0.08
    ),
    Biome(
        "tropical dry forest", 14, 0.02, 0.45, 0.5, 0.4, 0.0, 0.35, "red", 0.75, 0.3, 45, 1.1, 0.06
    ),
    Biome(
        "tropical coniferous forest",
        18,
        0.02,
        0.6,
        0.3,
        0.3,
        0.8,
        0.7,
        "red",
        0.8,
        0.5,
        40,
        1.3,
        0.12,
    ),
    Biome(
        "temperate broadleaf forest",
        48,
        0.04,
        0.38,
        0.7,
        0.55,
        0.25,
        0.0,
        "brown",
        0.85,
        0.45,
        0,
        1.0,
        0.06,
    ),
    Biome(
        "temperate coniferous forest",
        46,
        0.03,
        0.6,
        0.35,
        0.35,
        0.85,
        0.0,
        "brown",
        0.8,
        0.4,
        8,
        0.9,
        0.14,
    ),
    Biome("boreal forest", 58, 0.12, 0.66, 0.12, 0.15, 0.85, 0.0, "dark", 0.7, 0.4, 15, 0.7, 0.05),
    Biome(
        "tropical savanna", 10, 0.02, 0.15, 0.4, 0.35, 0.0, 0.4, "red", 0.7, 0.15, 50, 0.95, 0.03
    ),
    Biome(
        "temperate steppe", 45, 0.02, 0.06, 0.85, 0.35, 0.1, 0.0, "dark", 0.7, 0.15, -12, 0.75, 0.03
    ),
    Biome("flooded grassland", 20, 0.2, 0.1, 0.3, 0.2, 0.0, 0.8, "dark", 0.85, 0.55, 45, 1.4, 0.01),
    Biome(
        "mountain grassland", 42, 0.02, 0.18, 0.2, 0.2, 0.7, 0.0, "brown", 0.7, 0.2, 20, 0.7, 0.2
    ),
    Biome("tundra", 63, 0.16, 0.02, 0.02, 0.06, 0.6, 0.0, "dark", 0.6, 0.25, 25, 0.5, 0.05),
    Biome("mediterranean", 38, 0.02, 0.25, 0.7, 0.5, 0.35, 0.85, "red", 0.6, 0.7, -55, 0.85, 0.1),
    Biome("desert", 28, 0.008, 0.01, 0.2, 0.15, 0.0, 0.8, "sand", 0.12, 0.5, -20, 0.7, 0.06),
    Biome("mangrove", 12, 0.28, 0.5, 0.25, 0.25, 0.0, 1.0, "dark", 0.85, 0.8, 40, 1.6, 0.01),
    Biome("rock", 45, 0.02, 0.03, 0.02, 0.05, 0.9, 0.0, "rock", 0.2, 0.3, 25, 0.6, 0.28),
)


def biome_of(code: int) -> Biome:
    """Return the biome with a code.

    Raises
    ------
    ConfigError
        If the code is unknown.
    """
    if not 0 <= code < len(BIOMES):
        raise ConfigError(f"unknown biome {code}: use a code from 0 to {len(BIOMES) - 1}")
    return BIOMES[code]


def day_of(month: int) -> float:
    """Return the day of the year of the middle of a month.

    Raises
    ------
    ConfigError
        If the month is invalid.
    """
    if not 1 <= month <= 12:
        raise ConfigError(f"invalid month {month}: use a number from 1 to 12")
    return 365 / 12 * (month - 0.5)


def sun_height(latitude: float, day: float) -> float:
    """Return the height of the sun at 10:30 solar time, in radians, at least `LOWEST_SUN`.

    The declination is -23.44° cos(2π (day + 10) / 365), to half a degree.

    Parameters
    ----------
    latitude : float
        Latitude in degrees.
    day : float
        Day of the year, from 1.
    """
    tilt = -math.radians(23.44) * math.cos(2 * math.pi * (day + 10) / 365)
    here = math.radians(latitude)
    height = math.sin(here) * math.sin(tilt)
    height += math.cos(here) * math.cos(tilt) * math.cos(HOUR_ANGLE)
    return max(LOWEST_SUN, math.asin(height))
