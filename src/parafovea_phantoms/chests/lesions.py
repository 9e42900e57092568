"""Nodules and decoys: lesions with exactly known centre and volume."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parafovea.geometry.grid import Box, Vector, shape3, vector3
from parafovea_phantoms.cells.blobs import largest_piece
from parafovea_phantoms.chests.frame import Points, Positions
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.lattice import Field, Lattice

Mask = NDArray[np.bool_]

#: Range of nodule diameters in millimetres: a larger one is a mass, a smaller one a micronodule
#: (Fleischner Society glossary, Radiology 246, 2008, 697-722).
SMALLEST, LARGEST = 3.0, 30.0

#: Shares of lobulated and of ground glass lesions.
LOBULATED, GROUND_GLASS = 0.4, 0.2

#: Sample points per voxel along an axis, for the share of a voxel inside a lesion.
SAMPLES = 4

Kind = Literal["solid", "ground glass"]


@dataclass(frozen=True)
class Core:
    """The inner part of a lesion, of its shape.

    Parameters
    ----------
    size : float
        Its size as a share of the lesion's, below 1.
    value : float
        Hounsfield units.
    offset : tuple of float
        Position z, y, x of its centre relative to the lesion's, in radii of the lesion.
    blurred : bool
        Whether it fades into the lesion around it, over about three voxels.
    """

    size: float
    value: float
    offset: Vector = (0.0, 0.0, 0.0)
    blurred: bool = False


@dataclass(frozen=True, eq=False)
class Lesion:
    """A star-shaped lesion: a sphere with optional lobes.

    Parameters
    ----------
    centre : Vector
        Centre of mass z, y, x in millimetres of the volume.
    diameter : float
        Diameter of a sphere of the same volume, in millimetres.
    kind : {"solid", "ground glass"}
        A solid lesion replaces the lung, ground glass adds to it.
    value : float
        Hounsfield units of a solid lesion, or added by ground glass.
    lobes : ndarray
        (n, 3) float64 unit vectors towards the lobes.
    heights : ndarray
        (n,) float64 height of each lobe, as a share of the radius; negative where a lesion is flat.
    core : Core, optional
        A part in the middle with its own Hounsfield units.
    spicules : Tubes
        Strands around the lesion, relative to its centre; no part of its volume.
    """

    centre: Vector
    diameter: float
    kind: Kind
    value: float
    lobes: Points
    heights: Points
    core: Core | None = None
    spicules: Tubes = field(default_factory=lambda: Tubes.together([]))

    @property
    def strands(self) -> Tubes:
        """The spicules, in millimetres of the volume."""
        begin, end = (p + np.array(self.centre) for p in (self.spicules.begin, self.spicules.end))
        return replace(self.spicules, begin=begin, end=end)

    @functools.cached_property
    def shape(self) -> tuple[float, Points]:
        """Scale and offset (z, y, x) that normalize the volume and the centre of mass.

        In radii, by quadrature over 2000 directions.
        """
        if len(self.lobes) == 0:
            return 1.0, np.zeros(3)
        directions = _sphere(2000)
        radius = _star(directions @ self.lobes.T, self.heights)
        volume = float((radius**3).mean())
        middle = 0.75 * (radius[:, None] ** 4 * directions).mean(axis=0) / volume
        scale = volume ** (-1 / 3)
        return scale, -middle * scale

    @property
    def reach(self) -> float:
        """Radius of a sphere around the centre that contains the lesion, in millimetres."""
        scale, offset = self.shape
        far = scale * (1 + float(np.maximum(self.heights, 0).sum())) + math.sqrt(
            float(offset @ offset)
        )
        return far * self.diameter / 2

    def holds(self, positions: Positions) -> Mask:
        """Return which positions (broadcastable z, y, x in millimetres) lie inside."""
        scale, offset = self.shape
        radius = self.diameter / 2
        z, y, x = (
            p - np.float32(c + o * radius)
            for p, c, o in zip(positions, self.centre, offset, strict=True)
        )
        away = np.sqrt(z * z + y * y + x * x)
        edge = np.float32(scale * radius)
        if len(self.lobes):
            unit = 1 / np.maximum(away, np.float32(1e-6))
            star = np.ones_like(away)
            for lobe, height in zip(self.lobes.astype(np.float32), self.heights, strict=True):
                cosine = (z * lobe[0] + y * lobe[1] + x * lobe[2]) * unit
                star += np.float32(height) * _bump(cosine)
            edge = edge * star
        inside: Mask = away <= edge
        return inside


@dataclass(frozen=True)
class DrawnLesion:
    """A lesion's voxels.

    Parameters
    ----------
    box : Box
        Box of the voxels in the volume.
    mask : ndarray
        (z, y, x) bool: voxels whose centre lies in the lesion, one connected component.
    share : ndarray
        (z, y, x) float32: share of each voxel inside the lesion.
    lesion : Lesion
        The lesion.
    core_share : ndarray
        (z, y, x) float32: share of each voxel inside the core; without one, empty.
    """

    box: Box
    mask: Mask
    share: Field
    lesion: Lesion
    core_share: Field


def smallest_diameter(spacing: Vector) -> float:
    """Return the smallest nodule diameter at a spacing, in millimetres.

    3 mm, or the diagonal of a voxel if that is longer: a sphere of that diameter contains the
    centre of a voxel wherever it lies, so that no nodule falls between voxels.
    """
    return max(SMALLEST, math.sqrt(math.fsum(s * s for s in spacing)))


def random_lesion(rng: np.random.Generator, diameter: float, *, plain: float) -> Lesion:
    """Return a random lesion at the origin; its shape does not depend on its location.

    Parameters
    ----------
    rng : Generator
        Random generator of its population.
    diameter : float
        Diameter in millimetres.
    plain : float
        Diameter up to which lesions are perfect spheres, in millimetres.
    """
    chance = rng.uniform(size=3)
    lobed = diameter > plain
    count = int(rng.integers(4, 8))
    lobes = rng.uniform(-1, 1, size=(count, 3)) + 1e-3
    lobes /= np.sqrt((lobes * lobes).sum(axis=1, keepdims=True))
    strength = (0.22, 0.42) if chance[0] < LOBULATED else (0.02, 0.10)
    heights = rng.uniform(*strength, size=count)
    ground_glass = bool(chance[1] < GROUND_GLASS)
    value = 180 + 180 * chance[2] if ground_glass else 15 + 45 * chance[2]
    if not lobed:
        lobes, heights = lobes[:0], heights[:0]
    kind: Kind = "ground glass" if ground_glass else "solid"
    return Lesion((0.0, 0.0, 0.0), diameter, kind, float(value), lobes, heights)


def draw_lesion(lesion: Lesion, lattice: Lattice, *, within: Box) -> DrawnLesion:
    """Return a lesion's voxels in a volume."""
    reach = np.array([-lesion.reach, lesion.reach])
    spans = [
        (c - o + reach) / v
        for c, o, v in zip(lesion.centre, lattice.offset, lattice.voxel, strict=True)
    ]
    start = [math.floor(low) for low, _ in spans]
    stop = [math.ceil(high) + 1 for _, high in spans]
    box = Box(shape3(start), shape3(stop)).intersection(within)
    mask = largest_piece(lesion.holds(lattice.voxel_positions(box)))
    share, core = _share(lesion, lattice, box), np.empty(0, dtype=np.float32)
    if lesion.core is not None:
        radius = lesion.diameter / 2
        centre = [c + o * radius for c, o in zip(lesion.centre, lesion.core.offset, strict=True)]
        inner = replace(lesion, diameter=lesion.core.size * lesion.diameter, centre=vector3(centre))
        core = _share(inner, lattice, box)
        if lesion.core.blurred:
            core = ndimage.uniform_filter(core, 3)
        core = np.minimum(core, share)
    return DrawnLesion(box, mask, share, lesion, core)


def _share(lesion: Lesion, lattice: Lattice, box: Box) -> Field:
    """Return the share of each voxel of a box inside a lesion, (z, y, x) float32."""
    share = np.zeros(box.shape, dtype=np.float32)
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    for z in steps:
        for y in steps:
            for x in steps:
                shifted = [
                    p + np.float32(o * s)
                    for p, o, s in zip(
                        lattice.voxel_positions(box), (z, y, x), lattice.voxel, strict=True
                    )
                ]
                share += lesion.holds((shifted[0], shifted[1], shifted[2]))
    share *= np.float32(1 / SAMPLES**3)
    return share


def _bump(cosine: Field) -> Field:
    over = np.maximum(cosine - np.float32(0.3), 0) * np.float32(1 / 0.7)
    bump: Field = over * over
    return bump


def _star(cosines: Points, heights: Points) -> Points:
    over = np.maximum(cosines - 0.3, 0) / 0.7
    radius: Points = 1 + (over * over) @ heights
    return radius


def _sphere(count: int) -> Points:
    """Return uniformly distributed directions: a Fibonacci lattice on the sphere."""
    number = np.arange(count) + 0.5
    z = 1 - 2 * number / count
    angle = number * math.pi * (1 + math.sqrt(5))
    ring = np.sqrt(1 - z * z)
    return np.stack([z, ring * np.cos(angle), ring * np.sin(angle)], axis=1)
