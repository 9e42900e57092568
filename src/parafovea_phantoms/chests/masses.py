"""Masses: lesions above 30 mm, broad against the chest wall or the mediastinum."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from parafovea.geometry.grid import vector3
from parafovea_phantoms.chests.frame import Points
from parafovea_phantoms.chests.lesion_placement import Region
from parafovea_phantoms.chests.lesions import LARGEST, Core, Lesion
from parafovea_phantoms.chests.spicules import random_spicules
from parafovea_phantoms.lattice import Field

#: Largest diameter of a mass, in millimetres.
LARGEST_MASS = 70.0

#: How far a mass reaches into the wall or the mediastinum, in millimetres.
PRESSED = (1.0, 5.0)

#: How flat a mass is where it touches, as a share of its radius.
FLAT = (0.05, 0.5)

#: Distance from the chest wall, in radii, from which a mass lies at the mediastinum.
INNER = 1.3

#: Shares of masses at the wall, with a necrotic centre, and with spicules.
AT_WALL, NECROTIC, SPICULATED = 0.55, 0.4, 0.4

#: Positions to try for a mass before it is made smaller, and factor of its diameter then.
TRIES, SMALLER = 4000, 0.88

#: Distance over which the direction of the wall is measured, in millimetres.
NEAR = 6.0


def random_mass(rng: np.random.Generator, diameter: float) -> Lesion:
    """Return a random mass at the origin, by its diameter in millimetres.

    Its first lobe is negative: it is flat towards positive z, where it is to touch the wall.
    """
    chance = [float(v) for v in rng.uniform(size=4)]
    count = int(rng.integers(6, 12))
    lobes = rng.uniform(-1, 1, size=(count, 3)) + 1e-3
    lobes[:, 0] = 0.3 - np.abs(lobes[:, 0])
    lobes[0] = (1, 0, 0)
    lobes /= np.sqrt((lobes * lobes).sum(axis=1, keepdims=True))
    heights = rng.uniform(0.03, 0.32, size=count)
    heights[0] = -rng.uniform(*FLAT)
    body = Lesion((0.0, 0.0, 0.0), diameter, "solid", 30 + 60 * chance[0], lobes, heights)
    if chance[1] < NECROTIC:
        body = replace(body, core=Core(0.5 + 0.35 * chance[2], 20 * chance[3], blurred=True))
    return body


def place_masses(
    rng: np.random.Generator, region: Region, cavity: Field, count: int
) -> list[Lesion]:
    """Return masses at the wall of the lungs; one that does not fit is omitted.

    Parameters
    ----------
    rng : Generator
        Random generator of the masses.
    region : Region
        The lungs.
    cavity : ndarray
        (z, y, x) float32 at the lattice's points: distance to the chest wall in millimetres,
        positive inside.
    count : int
        Number of masses to attempt.
    """
    points = np.argwhere(region.inside > 0)
    placed: list[Lesion] = []
    if len(points) == 0 or count == 0:
        return placed
    exact = region.exact()
    step = np.array(region.lattice.step)
    wall = Region(region.lattice, cavity, region.vessels)
    last = (np.array(region.lattice.shape) - 2) * step
    for _ in range(count):
        diameter = LARGEST * math.pow(LARGEST_MASS / LARGEST, float(rng.uniform()))
        at_wall = float(rng.uniform()) < AT_WALL
        while diameter >= LARGEST:
            body = random_mass(rng, diameter)
            scale, offset = body.shape
            radius = diameter / 2
            flat = radius * (scale * (1 + float(body.heights[0])) + float(offset[0]))
            chosen = points[rng.integers(0, len(points), size=TRIES)]
            tried = (chosen + rng.uniform(-0.5, 0.5, size=(TRIES, 3))) * step
            deep, out = flat - exact.depth(tried), wall.depth(tried)
            fits = (deep >= PRESSED[0]) & (deep <= PRESSED[1])
            fits &= (out < INNER * flat) if at_wall else (out >= INNER * radius)
            fits &= ((tried > body.reach) & (tried < last - body.reach)).all(axis=1)
            for other in placed:
                apart = np.sqrt(((tried - np.array(other.centre)) ** 2).sum(axis=1))
                fits &= apart > other.reach + body.reach
            if fits.any():
                centre = tried[fits][0]
                turned = body.lobes @ _turn(_outward(exact, centre)).T
                body = replace(body, centre=vector3(centre.tolist()), lobes=turned)
                if float(rng.uniform()) < SPICULATED:
                    body = replace(body, spicules=random_spicules(rng, diameter))
                placed.append(body)
                break
            diameter *= SMALLER
    return placed


def _outward(region: Region, point: Points) -> Points:
    """Return the direction from a point to the nearest wall, a unit vector (3,)."""
    ahead = region.depth(point + NEAR * np.eye(3))
    back = region.depth(point - NEAR * np.eye(3))
    way = back - ahead
    size = math.sqrt(float(way @ way))
    outward: Points = way / size if size > 1e-6 else np.array([0.0, 0.0, 1.0])
    return outward


def _turn(towards: Points) -> Points:
    """Return the rotation (3, 3) that turns the first axis to a unit vector."""
    first = np.array([1.0, 0.0, 0.0])
    cosine = float(towards[0])
    if cosine < -1 + 1e-6:
        return np.diag([-1.0, -1.0, 1.0])
    axis = np.cross(first, towards)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn: Points = np.eye(3) + cross + cross @ cross / (1 + cosine)
    return turn
