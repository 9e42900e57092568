"""Appearance of a landscape in a month: vegetation on each parcel, and illumination."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea_phantoms.landscapes.biomes import Biome, day_of, sun_height
from parafovea_phantoms.landscapes.ground import Cover, Ground, ground
from parafovea_phantoms.landscapes.random_fields import (
    Field,
    key_of,
    mixed,
    normal,
    rough,
    slopes,
    smooth,
    uniform,
)
from parafovea_phantoms.landscapes.spectra import (
    ASPHALT,
    BROADLEAF,
    CLEAR_WATER,
    CONIFER,
    CROP,
    CROP_SHARES,
    CROPS,
    FLOWERING,
    FLOWERS,
    GRASS,
    GRASSLAND,
    LEAVES,
    RAPE,
    ROOFS,
    SOILS,
    STRAW,
    TRACK,
    TURBID_WATER,
    TWIGS,
    mixture,
    season_day,
)

#: Azimuth of the sun at 10:30, in radians east of south.
SUN_EAST = math.radians(28)

#: Share of light that remains in a shadow, by band: diffuse light of the sky, which is blue.
SKY_LIGHT = (0.55, 0.48, 0.43, 0.36)


@dataclass(frozen=True)
class Surface:
    """A landscape on a day; all arrays are (y, x) except the reflectance.

    Parameters
    ----------
    ground : Ground
        Land cover.
    reflectance : ndarray
        (band, y, x) float64, B02 B03 B04 B08.
    green : ndarray
        Share of green plants.
    """

    ground: Ground
    reflectance: NDArray[np.float64]
    green: Field


def surface(seed: int, biome: Biome, month: int, y: Field, x: Field) -> Surface:
    """Return the appearance of a landscape in the middle of a month.

    Parameters
    ----------
    seed : int
        Seed of the landscape.
    biome : Biome
        Biome of the landscape.
    month : int
        Month, from 1 to 12.
    y, x : ndarray
        (y,) and (x,): positions to the south and to the east, in metres.
    """
    height = sun_height(biome.latitude, day_of(month))
    reach = 1 / math.tan(height)
    sun = (math.cos(SUN_EAST), math.sin(SUN_EAST))
    land = ground(seed, biome, y, x, to_sun=(reach * sun[0], reach * sun[1]))
    season = season_day(day_of(month), shift=biome.shift, length=biome.length)
    green, dry, flowers = _plants(seed, biome, season, land, y, x)
    bare = np.clip(1 - green - dry - flowers, 0, 1)
    reflectance = _reflectance(seed, biome, land, green, dry, flowers, bare, y, x)
    lit = _light(seed, biome, land, y, x, sun=sun, reach=reach)
    sky = np.array(SKY_LIGHT)[:, None, None]
    reflectance *= lit * (1 - (1 - sky) * land.shadow)
    return Surface(land, np.clip(reflectance, 0.001, 1), green)


def _plants(
    seed: int, biome: Biome, season: float, land: Ground, y: Field, x: Field
) -> tuple[Field, Field, Field]:
    """Return the shares of green plants, dry plants and flowers."""
    shape = land.cover.shape
    # sowing dates vary by a week between parcels, and growth varies
    tended = 1 - land.wild.astype(np.float64)
    days = season + 8 * tended * normal(mixed(land.bits, 21))
    fertile = 0.6 * rough(key_of(seed, "fertile"), y, x, 240)
    fertile += 0.4 * tended * normal(mixed(land.bits, 22))
    vigour = np.clip(1 + 0.09 * fertile + 0.02 * land.rows, 0.6, 1.05)
    green, dry, flowers = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    crop = np.searchsorted(np.cumsum(CROP_SHARES)[:-1], uniform(mixed(land.bits, 23)), "right")
    for number, each in enumerate(CROPS):
        where = (land.cover == Cover.CROP) & (crop == number)
        green[where] = each.cover(days[where]) * vigour[where]
        dry[where] = each.straw(days[where])
        if number == RAPE:
            bloom = (days > FLOWERING[0]) & (days < FLOWERING[1])
            flowers[where & bloom] = 0.55
            green[where & bloom] *= 0.45
    where = land.cover == Cover.GRASS
    mown = np.where(uniform(mixed(land.bits, 24)) < 0.3, 0.75, 1)
    patchy = np.clip(1 + 0.16 * rough(key_of(seed, "pasture"), y, x, 150), 0.3, 1.4)
    peak = np.where(land.wild, biome.cover * patchy, 0.88 * mown * vigour)
    stays = np.where(land.wild, biome.winter, np.maximum(biome.winter, 0.45))
    grown = stays + (1 - stays) * GRASSLAND.cover(days)
    np.copyto(green, peak * grown, where=where)
    np.copyto(dry, 0.8 * peak * (1 - grown), where=where)
    thin = (land.cover == Cover.SOIL) | (land.cover == Cover.SETTLEMENT)
    green[thin] = 0.12 * biome.cover * (peak * grown)[thin]
    # leaf-out varies by stand, not by parcel
    stands = season + 6 * rough(key_of(seed, "leaves"), y, x, 260)
    leaves = biome.evergreen + (1 - biome.evergreen) * LEAVES.cover(stands)
    np.copyto(green, leaves, where=land.cover == Cover.BROADLEAF)
    green[land.cover == Cover.CONIFER] = 1
    return np.clip(green, 0, 1), dry, flowers


def _reflectance(
    seed: int,
    biome: Biome,
    land: Ground,
    green: Field,
    dry: Field,
    flowers: Field,
    bare: Field,
    y: Field,
    x: Field,
) -> NDArray[np.float64]:
    """Return the reflectance (band, y, x) under uniform illumination."""
    soil = SOILS[biome.soil]
    moist = 1 + 0.10 * rough(key_of(seed, "moist"), y, x, 320) + 0.05 * land.rows
    moist += np.where(land.wild, 0, 0.08 * normal(mixed(land.bits, 31)))
    moist = np.clip(moist, 0.6, 1.4)
    out = mixture([(green, GRASS), (dry, STRAW), (flowers, FLOWERS), (bare * moist, soil)])

    def put(where: NDArray[np.bool_], values: NDArray[np.float64]) -> None:
        np.copyto(out, values, where=where)

    crop = land.cover == Cover.CROP
    put(crop, mixture([(green, CROP), (dry, STRAW), (flowers, FLOWERS), (bare * moist, soil)]))
    stand = 1 + 0.09 * rough(key_of(seed, "stands"), y, x, 210)
    leafy = mixture([(green * stand, BROADLEAF), ((1 - green) * stand, TWIGS)])
    put(land.cover == Cover.BROADLEAF, leafy)
    put(land.cover == Cover.CONIFER, mixture([(stand, CONIFER)]))
    turbid = land.turbid
    put(land.cover == Cover.WATER, mixture([(1 - turbid, CLEAR_WATER), (turbid, TURBID_WATER)]))
    paved = (~land.wild).astype(np.float64)
    put(land.cover == Cover.ROAD, mixture([(paved, ASPHALT), (1 - paved, TRACK)]))
    kind = uniform(mixed(land.bits, 32))
    bright = 0.8 + 0.45 * uniform(mixed(land.bits, 33))
    for number, roof in enumerate(ROOFS):
        under = (kind * len(ROOFS)).astype(np.int64) == number
        share = 0.82 * bright
        put(under & (land.cover == Cover.SETTLEMENT), mixture([(share, roof), (green, GRASS)]))
    return out


def _light(
    seed: int,
    biome: Biome,
    land: Ground,
    y: Field,
    x: Field,
    *,
    sun: tuple[float, float],
    reach: float,
) -> Field:
    """Return the illumination (y, x), 1 on flat ground: slopes, crowns, texture."""

    def to_sun(name: str, scale: float) -> Field:
        down, right = slopes(key_of(seed, name), y, x, scale)
        return scale * (sun[0] * down + sun[1] * right)

    slope = to_sun("hills", 900) + 0.5 * to_sun("spurs", 280)
    # a slope that descends towards the sun faces it
    light = 1 - biome.relief * min(reach, 2.5) * slope
    forest = (land.cover == Cover.BROADLEAF) | (land.cover == Cover.CONIFER)
    crowns = -0.06 * min(reach, 2.0) ** 0.5 * to_sun("crowns", 30)
    crowns += 0.05 * smooth(key_of(seed, "gaps"), y, x, 40)
    fine = 0.025 * smooth(key_of(seed, "fine"), y, x, 26)
    light = light * (1 + np.where(forest, crowns, np.where(land.cover == Cover.WATER, 0, fine)))
    flat = land.cover == Cover.WATER
    light = np.where(flat, 1 + 0.03 * smooth(key_of(seed, "waves"), y, x, 40), light)
    out: Field = np.clip(light, 0.45, 1.45)
    return out
