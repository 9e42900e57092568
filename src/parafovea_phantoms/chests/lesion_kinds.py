"""Kinds of lesions that plain chests lack: part-solid, faint, calcified, spiculated, cavitary."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from parafovea.geometry.grid import vector3
from parafovea_phantoms.chests.lesions import Core, Lesion, random_lesion
from parafovea_phantoms.chests.spicules import random_spicules

#: Upper limits of a random number, by kind; above the last, a lesion is plain.
PART_SOLID, FAINT, CALCIFIED, SPICULATED, CAVITARY = 0.13, 0.24, 0.36, 0.58, 0.64

#: Minimum diameters in millimetres of part-solid, spiculated and cavitary lesions.
LEAST_PART_SOLID, LEAST_SPICULATED, LEAST_CAVITARY = 7.0, 7.0, 10.0

#: Range of Hounsfield units of a calcification, and what faint ground glass adds.
CALCIUM, FAINT_GLASS = (150.0, 600.0), (90.0, 170.0)


def varied_lesion(
    rng: np.random.Generator, diameter: float, *, plain: float, variety: float
) -> Lesion:
    """Return a random lesion at the origin, of any kind.

    Parameters
    ----------
    rng : Generator
        Random generator of its population.
    diameter : float
        Diameter in millimetres.
    plain : float
        Diameter up to which lesions are perfect spheres, in millimetres.
    variety : float
        Chance that the kind may be one that plain chests lack.
    """
    body = random_lesion(rng, diameter, plain=plain)
    kind, varied, *amounts = (float(v) for v in rng.uniform(size=5))
    if varied >= variety:
        return body
    dense = 10 + 70 * amounts[0]
    if kind < PART_SOLID and diameter >= LEAST_PART_SOLID:
        core = _core(rng, 0.35 + 0.4 * amounts[1], dense, blurred=amounts[2] < 0.5)
        return replace(body, kind="ground glass", value=150 + 200 * amounts[2], core=core)
    if PART_SOLID <= kind < FAINT:
        low, high = FAINT_GLASS
        return replace(body, kind="ground glass", value=low + (high - low) * amounts[0])
    if FAINT <= kind < CALCIFIED:
        value = CALCIUM[0] + (CALCIUM[1] - CALCIUM[0]) * amounts[0]
        if amounts[1] < 0.5:
            return replace(body, kind="solid", value=value)
        core = _core(rng, 0.4 + 0.3 * amounts[2], value)
        return replace(body, kind="solid", value=dense, core=core)
    if CALCIFIED <= kind < SPICULATED and diameter >= LEAST_SPICULATED:
        spicules = random_spicules(rng, diameter)
        return replace(body, kind="solid", value=dense, spicules=spicules)
    if SPICULATED <= kind < CAVITARY and diameter >= LEAST_CAVITARY:
        core = _core(rng, 0.4 + 0.35 * amounts[1], -950.0)
        return replace(body, kind="solid", value=dense, core=core)
    return body


def _core(rng: np.random.Generator, size: float, value: float, *, blurred: bool = False) -> Core:
    """Return a core that lies off the centre, inside of the lesion."""
    room = 0.7 * (1 - size) / math.sqrt(3)
    return Core(size, value, vector3(rng.uniform(-room, room, size=3).tolist()), blurred)
