"""Random placement of lesions: free in a region, at its wall, or beside a vessel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import ndimage

from parafovea.geometry.grid import Vector, vector3
from parafovea_phantoms.chests.frame import Points
from parafovea_phantoms.chests.lesions import LARGEST, Lesion, random_lesion
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.lattice import Field, Lattice

#: Shares of the lesions that touch the wall of their region, and that touch a vessel.
AT_WALL, AT_VESSEL = 0.25, 0.25

#: Range of radii of the vessels that a lesion may touch, in millimetres.
TOUCHED = (0.6, 2.2)

#: Positions to try for a lesion before it is made smaller, and sizes to try.
TRIES, SIZES = 1500, 8

#: Minimum distance between two lesions, and from a free lesion to the wall, in millimetres.
GAP, FREE = 8.0, 3.5

#: Depth of the centre of a lesion at the wall, in radii: the lesion extends into the wall.
PRESSED = (0.8, 0.98)


class Maker(Protocol):
    """Function that returns a random lesion at the origin."""

    def __call__(self, rng: np.random.Generator, diameter: float, *, plain: float) -> Lesion:
        """Return a lesion of a diameter; up to `plain` millimetres, it is a sphere."""


@dataclass(frozen=True)
class Manner:
    """How lesions are made and placed.

    Parameters
    ----------
    make : Maker
        Function that makes a lesion.
    at_wall, at_vessel, crossed : float
        Shares of the lesions that touch the wall of their region, and that touch a vessel; share
        of the lesions, among the latter, that a vessel crosses.
    pressed : tuple of float
        Depth of the centre of a lesion at the wall, in radii: the lesion extends into the wall.
    """

    make: Maker = random_lesion
    at_wall: float = AT_WALL
    at_vessel: float = AT_VESSEL
    crossed: float = 0.0
    pressed: tuple[float, float] = PRESSED


PLAIN_MANNER = Manner()


@dataclass(frozen=True)
class Region:
    """A region to place lesions in.

    Parameters
    ----------
    lattice : Lattice
        Lattice of the volume, in millimetres.
    inside : ndarray
        (z, y, x) float32 at the lattice's points: signed distance to its wall, positive inside.
    vessels : Tubes
        Vessels in the region.
    """

    lattice: Lattice
    inside: Field
    vessels: Tubes

    def exact(self) -> Region:
        """Return the region with a distance that is reliable, to within a lattice step.

        Deep inside, `inside` is not.
        """
        safe = ndimage.distance_transform_edt(self.inside > 0, sampling=self.lattice.step)
        return replace(self, inside=np.minimum(self.inside, safe).astype(np.float32))

    def depth(self, points: Points) -> Points:
        """Return the distance to the wall at points (n, 3), in millimetres."""
        places = (points / np.array(self.lattice.step)).T
        depth: Points = ndimage.map_coordinates(self.inside, places, order=1, mode="nearest")
        return depth.astype(np.float64)


def sizes(
    rng: np.random.Generator, count: int, *, smallest: float, small: float = 1.0
) -> list[float]:
    """Return random diameters from `smallest` to 30 mm, small ones more often, largest first.

    Their logarithms are uniform; `small` above 1 makes small ones more frequent still.
    """
    span = LARGEST / smallest
    uniform = (float(u) for u in rng.uniform(size=count))
    return sorted((smallest * span ** (u**small) for u in uniform), reverse=True)


def place(
    rng: np.random.Generator,
    region: Region,
    diameters: list[float],
    *,
    smallest: float,
    keep_away: Tubes,
    manner: Manner = PLAIN_MANNER,
    others: Sequence[Lesion] = (),
) -> list[Lesion]:
    """Place lesions with given diameters in a region.

    A lesion that does not fit is made smaller, and finally omitted.

    Parameters
    ----------
    rng : Generator
        Random generator of this population.
    region : Region
        Region of the lesions.
    diameters : list of float
        Diameters in millimetres.
    smallest : float
        Minimum diameter, in millimetres.
    keep_away : Tubes
        Large vessels and airways that no lesion may touch.
    manner : Manner
        How lesions are made and placed.
    others : sequence of Lesion
        Lesions that are already in the region.
    """
    points = np.argwhere(region.inside > 0)
    if len(points) == 0:
        return []
    step = np.array(region.lattice.step)
    exact = region.exact()
    placed: list[Lesion] = []
    for diameter in diameters:
        chance = float(rng.uniform())
        size = diameter
        for _ in range(SIZES):
            body = manner.make(rng, size, plain=2 * smallest)
            chosen = points[rng.integers(0, len(points), size=TRIES)]
            tried = (chosen + rng.uniform(-0.5, 0.5, size=(TRIES, 3))) * step
            if chance > 1 - manner.at_vessel:
                crossed = chance > 1 - manner.crossed
                tried = _beside_vessels(rng, region.vessels, body, TRIES, crossed=crossed)
            found = _first(
                tried,
                exact,
                body,
                pressed=manner.pressed if chance < manner.at_wall else None,
                others=[*others, *placed],
                keep_away=keep_away,
            )
            if found is not None:
                placed.append(replace(body, centre=found))
                break
            size = max(smallest, size * 0.8)
    return placed


def _beside_vessels(
    rng: np.random.Generator, vessels: Tubes, body: Lesion, count: int, *, crossed: bool
) -> Points:
    """Return points at which a lesion touches a vessel from the side, or is crossed by it."""
    radius = np.minimum(vessels.first, vessels.last)
    usable = np.flatnonzero((radius > TOUCHED[0]) & (radius < TOUCHED[1]))
    if len(usable) == 0:
        return np.empty((0, 3))
    chosen = usable[rng.integers(0, len(usable), size=count)]
    along = vessels.end[chosen] - vessels.begin[chosen]
    aside = rng.uniform(-1, 1, size=(count, 3))
    aside -= along * ((aside * along).sum(axis=1) / ((along * along).sum(axis=1) + 1e-9))[:, None]
    aside /= np.sqrt((aside * aside).sum(axis=1, keepdims=True)) + 1e-9
    middle = (vessels.begin[chosen] + vessels.end[chosen]) / 2
    if crossed:
        return middle + aside * (0.3 * body.diameter / 2)
    return middle + aside * (0.9 * body.diameter / 2 + radius[chosen])[:, None]


def _first(
    tried: Points,
    region: Region,
    body: Lesion,
    *,
    pressed: tuple[float, float] | None,
    others: Sequence[Lesion],
    keep_away: Tubes,
) -> Vector | None:
    """Return the first point at which a lesion fits, at the wall if `pressed` is given."""
    if len(tried) == 0:
        return None
    lattice, radius = region.lattice, body.diameter / 2
    depth = region.depth(tried)
    if pressed is not None:
        fits = (depth >= pressed[0] * radius) & (depth <= pressed[1] * radius)
    else:
        fits = depth >= max(body.reach, radius) + FREE
    last = (np.array(lattice.shape) - 2) * np.array(lattice.step)
    fits &= ((tried > body.reach) & (tried < last - body.reach)).all(axis=1)
    for other in others:
        apart = np.sqrt(((tried - np.array(other.centre)) ** 2).sum(axis=1))
        fits &= apart > other.reach + body.reach + GAP
    for point in tried[fits]:
        if _away(point, keep_away) > body.reach + 1.5:
            return vector3(point.tolist())
    return None


def _away(point: Points, tubes: Tubes) -> float:
    """Return the distance from a point to the nearest tube's surface, in millimetres."""
    if len(tubes) == 0:
        return math.inf
    along = tubes.end - tubes.begin
    relative = point - tubes.begin
    part = (relative * along).sum(axis=1) / ((along * along).sum(axis=1) + 1e-9)
    rest = relative - np.clip(part, 0, 1)[:, None] * along
    distance = np.sqrt((rest * rest).sum(axis=1)) - np.maximum(tubes.first, tubes.last)
    return float(distance.min())
