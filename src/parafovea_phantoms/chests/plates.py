"""Plates: thin bent discs, as of atelectasis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parafovea.geometry.grid import Box, Vector, shape3, vector3
from parafovea_phantoms.chests.frame import Points
from parafovea_phantoms.lattice import Field, Lattice

#: Range of the semi-axes of a plate, and of half its thickness, in millimetres.
LONG, BROAD, HALF = (12.0, 38.0), (7.0, 24.0), (0.5, 1.9)

#: Greatest curvature along the long axis, per millimetre.
BEND = 0.008


@dataclass(frozen=True, eq=False)
class Plate:
    """A bent elliptic disc that thins out towards its edge.

    Parameters
    ----------
    centre : Vector
        Centre z, y, x in millimetres of the volume.
    axes : ndarray
        (3, 3) float64 unit vectors along the long axis, the broad axis and the normal.
    semi : tuple of float
        Semi-axes and half the thickness, in millimetres.
    bend : float
        Curvature along the long axis, per millimetre.
    """

    centre: Vector
    axes: Points
    semi: Vector
    bend: float

    def box(self, lattice: Lattice) -> Box:
        """Return a box of voxels around the plate."""
        reach = self.semi[0] * 1.2 + self.semi[2] + 2 * max(lattice.voxel)
        spans = [
            (c - o + np.array([-reach, reach])) / v
            for c, o, v in zip(self.centre, lattice.offset, lattice.voxel, strict=True)
        ]
        low = np.floor([span[0] for span in spans]).astype(int).tolist()
        high = (np.ceil([span[1] for span in spans]).astype(int) + 1).tolist()
        return Box(shape3(low), shape3(high))

    def coverage(self, lattice: Lattice, box: Box, width: float) -> Field:
        """Return the share of each voxel of a box in the plate, (z, y, x) float32.

        `width` is the side of a voxel in millimetres; a thinner plate has the share that its
        thickness has of a voxel's.
        """
        z, y, x = (
            p - np.float32(c)
            for p, c in zip(lattice.voxel_positions(box), self.centre, strict=True)
        )
        along, across, off = (
            z * np.float32(a[0]) + y * np.float32(a[1]) + x * np.float32(a[2]) for a in self.axes
        )
        off = off - np.float32(self.bend) * along * along
        u, v = along * np.float32(1 / self.semi[0]), across * np.float32(1 / self.semi[1])
        half = np.float32(self.semi[2]) * np.maximum(1 - u * u - v * v, 0)
        steep = np.float32(1 / width)
        share = (np.maximum(half, np.float32(width / 2)) - np.abs(off)) * steep + np.float32(0.5)
        covered: Field = np.clip(share, 0, 1) * np.minimum(2 * half * steep, 1)
        return covered


def random_plate(rng: np.random.Generator, centre: Points) -> Plate:
    """Return a random plate around a point (3,), more often level than upright."""
    normal = rng.uniform(-1, 1, size=3) * np.array([1.6, 1, 1])
    normal /= np.sqrt(normal @ normal) + 1e-9
    along = rng.uniform(-1, 1, size=3)
    along -= (along @ normal) * normal
    along /= np.sqrt(along @ along) + 1e-9
    semi = [float(rng.uniform(*limits)) for limits in (LONG, BROAD, HALF)]
    bend = float(rng.uniform(-BEND, BEND))
    axes = np.stack([along, np.cross(normal, along), normal])
    return Plate(vector3(np.asarray(centre).tolist()), axes, vector3(semi), bend)
