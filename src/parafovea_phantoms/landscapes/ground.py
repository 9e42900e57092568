"""Land cover of a landscape: rivers, lakes, forest, fields, villages and roads.

The land is divided into communes. Some have a village in the middle; roads run along their borders;
fields are strips with one orientation per commune, divided across. Forest and uncultivated land
follow smooth fields and, at their edges, the parcels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from parafovea_phantoms.landscapes.biomes import Biome
from parafovea_phantoms.landscapes.random_fields import (
    Bits,
    Cells,
    Field,
    another,
    cells,
    hashed,
    key_of,
    mixed,
    normal,
    rough,
    slopes,
    smooth,
    uniform,
)

#: Length scales in metres: of villages, forest edges, lakes and rivers.
COMMUNE, FOREST, LAKE, RIVER = 1600.0, 950.0, 800.0, 2200.0

#: Half the width of a road, of a track and of a village street, in metres.
ROAD, TRACK, STREET = 6.0, 3.0, 4.5

#: Height in metres of the trees that cast shadows on adjacent land.
TREES = 20.0


class Cover(IntEnum):
    """Land cover, by the code of its class."""

    SOIL = 0
    CROP = 1
    GRASS = 2
    BROADLEAF = 3
    CONIFER = 4
    WATER = 5
    ROAD = 6
    SETTLEMENT = 7


#: Names of the classes of land cover, by code.
LANDCOVER = tuple(cover.name.lower() for cover in Cover)


@dataclass(frozen=True)
class Ground:
    """Land cover at points, all (y, x).

    Parameters
    ----------
    cover : ndarray
        uint8, a `Cover`.
    bits : ndarray
        uint32 random bits, constant over a parcel or a lot.
    rows : ndarray
        Position within a crop row or tramline, in [-1, 1]; 0 on uncultivated land.
    wild : ndarray
        bool, uncultivated land.
    turbid : ndarray
        Turbidity of water, in [0, 1].
    shadow : ndarray
        Share of the direct light that adjacent trees block, in [0, 1].
    """

    cover: NDArray[np.uint8]
    bits: Bits
    rows: Field
    wild: NDArray[np.bool_]
    turbid: Field
    shadow: Field


@dataclass(frozen=True)
class _Parcels:
    """The parcels at points, ignoring other land cover; all (y, x)."""

    communes: Cells
    bits: Bits
    along: Field
    across: Field
    edge: Field


def ground(seed: int, biome: Biome, y: Field, x: Field, *, to_sun: tuple[float, float]) -> Ground:
    """Return the land cover on the grid of two axes.

    Parameters
    ----------
    seed : int
        Seed of the landscape.
    biome : Biome
        Biome of the landscape.
    y, x : ndarray
        (y,) and (x,): positions to the south and to the east, in metres.
    to_sun : tuple of float
        Offset along y and x from the shadow of a treetop to the tree, per metre of height.
    """
    parcels = _parcels(seed, y, x)
    bits = parcels.bits.copy()
    forest = _forest(seed, biome, y, x, parcels.bits)
    farmed = _above(key_of(seed, "farmed"), y, x, 1900, biome.farmed, parcels.bits, ragged=0.5)
    meadow = uniform(mixed(bits, 11)) < 0.22
    cover = np.full(bits.shape, Cover.GRASS, np.uint8)
    barren = rough(key_of(seed, "barren"), y, x, 500)
    cover[~farmed & (barren > ndtri(_open(2 * biome.cover - 0.1)))] = Cover.SOIL
    cover[farmed & ~meadow] = Cover.CROP
    cover[farmed & (parcels.edge < TRACK)] = Cover.GRASS
    conifer = rough(key_of(seed, "conifers"), y, x, 700) > ndtri(1 - _open(biome.conifers))
    cover[forest] = np.where(conifer[forest], Cover.CONIFER, Cover.BROADLEAF)
    _lay_roads(cover, seed, biome, y, x, parcels, farmed=farmed & ~forest)
    _build(cover, bits, seed, biome, y, x, parcels)
    turbid = _lay_water(cover, seed, biome, y, x)
    width = 26 + 20 * uniform(mixed(parcels.bits, 12))
    return Ground(
        cover,
        bits,
        np.where(farmed, np.sin(2 * np.pi * parcels.across / width), 0),
        ~farmed,
        turbid,
        _shadow(seed, biome, y, x, ~forest & (cover != Cover.WATER), to_sun),
    )


def _parcels(seed: int, y: Field, x: Field, *, edges: bool = True) -> _Parcels:
    bend = key_of(seed, "bends")
    places = (
        y[:, None] + 70 * smooth(bend, y, x, 650),
        x[None, :] + 70 * smooth(another(bend, 1), y, x, 650),
    )
    communes = cells(key_of(seed, "communes"), *places, COMMUNE, edges=edges)
    angle = np.pi * uniform(mixed(communes.bits, 3))
    along = np.cos(angle) * communes.x + np.sin(angle) * communes.y
    across = np.cos(angle) * communes.y - np.sin(angle) * communes.x
    height = 130 + 240 * uniform(mixed(communes.bits, 4)) ** 2
    strip = np.floor(across / height)
    key = key_of(seed, "strips")
    strips = hashed(key, strip.astype(np.int64), communes.bits.astype(np.int64))
    width = 70 + 260 * uniform(mixed(strips, 5)) ** 1.5
    moved = along + 1000 * uniform(mixed(strips, 6))
    column = np.floor(moved / width)
    bits = hashed(key_of(seed, "parcels"), column.astype(np.int64), strips.astype(np.int64))
    in_strip, in_column = across - strip * height, moved - column * width
    edge = np.minimum.reduce([in_strip, height - in_strip, in_column, width - in_column])
    return _Parcels(communes, bits, along, across, edge)


def _open(share: float) -> float:
    return min(max(share, 1e-4), 1 - 1e-4)


def _above(
    key: int, y: Field, x: Field, scale: float, share: float, bits: Bits, *, ragged: float
) -> NDArray[np.bool_]:
    """Return a mask of the highest values of noise; optionally decided per parcel."""
    noise = rough(key, y, x, scale) + ragged * normal(mixed(bits, key))
    found: NDArray[np.bool_] = noise > ndtri(1 - _open(share)) * np.sqrt(1 + ragged**2)
    return found


def _forest(seed: int, biome: Biome, y: Field, x: Field, bits: Bits) -> NDArray[np.bool_]:
    return _above(key_of(seed, "forest"), y, x, FOREST, biome.forest, bits, ragged=0.3)


def _lay_roads(
    cover: NDArray[np.uint8],
    seed: int,
    biome: Biome,
    y: Field,
    x: Field,
    parcels: _Parcels,
    *,
    farmed: NDArray[np.bool_],
) -> None:
    """Draw roads along the borders of communes, and tracks between strips of fields."""
    share = _open(0.25 + biome.villages)
    opened = smooth(key_of(seed, "roads"), y, x, 4000) > ndtri(1 - share)
    height = np.abs(parcels.across)
    track = farmed & (height % 520 < 2 * TRACK)
    cover[track] = Cover.ROAD
    cover[opened & (parcels.communes.edge < ROAD)] = Cover.ROAD


def _build(
    cover: NDArray[np.uint8],
    bits: Bits,
    seed: int,
    biome: Biome,
    y: Field,
    x: Field,
    parcels: _Parcels,
) -> None:
    """Draw villages: streets, houses on their lots, gardens and trees."""
    communes = parcels.communes
    radius = 130 + 330 * uniform(mixed(communes.bits, 7)) ** 2
    ragged = 70 * smooth(key_of(seed, "outskirts"), y, x, 130)
    village = np.hypot(communes.y, communes.x) + ragged < radius
    village &= uniform(mixed(communes.bits, 8)) < biome.villages
    street = (parcels.along % 95 < 2 * STREET) | (parcels.across % 62 < 2 * STREET)
    lots = hashed(
        key_of(seed, "lots"),
        np.floor(parcels.along / 19).astype(np.int64),
        np.floor(parcels.across / 17).astype(np.int64),
    )
    house = uniform(mixed(lots, 9)) < 0.52
    tree = uniform(mixed(lots, 9)) > 0.84
    cover[village] = Cover.GRASS
    cover[village & tree] = Cover.BROADLEAF
    cover[village & house] = Cover.SETTLEMENT
    cover[village & street] = Cover.ROAD
    np.copyto(bits, lots, where=village)


def _lay_water(cover: NDArray[np.uint8], seed: int, biome: Biome, y: Field, x: Field) -> Field:
    """Draw lakes and rivers with trees along their banks; return their turbidity."""
    level = rough(key_of(seed, "lakes"), y, x, LAKE, octaves=4)
    lake = level > ndtri(1 - _open(biome.water))
    key = key_of(seed, "rivers")
    # the meanders of a river, much smaller than its course
    winding = 0.10 * smooth(key_of(seed, "winding"), y, x, 420)
    down, right = slopes(key, y, x, RIVER)
    steep = np.maximum(np.hypot(down, right), 0.3 / RIVER)
    middle = np.abs(smooth(key, y, x, RIVER) + winding) / steep
    wide = np.clip(biome.water / 0.035, 0.25, 2.2) * (
        26 + 14 * smooth(key_of(seed, "widths"), y, x, 1500)
    )
    river = middle < np.maximum(wide, 7)
    trees = rough(key_of(seed, "banks"), y, x, 90) > 0.1
    bank = (middle < wide + 26) & trees & (biome.forest > 0.05)
    on_land = ~np.isin(cover, (Cover.ROAD, Cover.SETTLEMENT))
    cover[bank & on_land] = Cover.BROADLEAF
    # roads cross rivers on bridges, and end at lakes
    cover[river & (cover != Cover.ROAD)] = Cover.WATER
    cover[lake] = Cover.WATER
    clear = smooth(key_of(seed, "turbid"), y, x, 2500)
    out: Field = np.clip(0.2 + 0.15 * clear + 0.4 * (river & ~lake), 0, 1)
    return out


def _shadow(
    seed: int,
    biome: Biome,
    y: Field,
    x: Field,
    is_open: NDArray[np.bool_],
    to_sun: tuple[float, float],
) -> Field:
    """Return the shadow of forest edges on adjacent open land."""
    down, right = (0.5 * TREES * way for way in to_sun)
    bits = _parcels(seed, y + down, x + right, edges=False).bits
    trees = _forest(seed, biome, y + down, x + right, bits)
    shadow: Field = np.where(trees & is_open, 0.8, 0.0)
    return shadow
