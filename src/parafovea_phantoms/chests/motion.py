"""Motion of heart and diaphragm while a slice is acquired."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from parafovea.geometry.grid import Box
from parafovea_phantoms.chests.reconstruction import Kernel
from parafovea_phantoms.chests.thorax import Thorax
from parafovea_phantoms.lattice import Field, Lattice, smoothstep

#: Distance in millimetres from the heart, and above the diaphragm, at which motion ends.
NEAR_HEART, NEAR_DIAPHRAGM = 25.0, 45.0


@dataclass(frozen=True)
class Motion:
    """Displacements during a scan, in millimetres.

    Parameters
    ----------
    heart, diaphragm : float
        Displacement to both sides of the heart and what is beside it, and of the bases of the
        lungs; 0 without motion.
    axis : int
        Axis of the heart's motion, 1 for y or 2 for x; the diaphragm moves what is above along y.
    doubled : bool
        Whether structures are seen twice, in both end positions, or as a blur between them.
    """

    heart: float = 0.0
    diaphragm: float = 0.0
    axis: int = 1
    doubled: bool = False


#: No motion.
STILL = Motion()


def moved(values: Field, motion: Motion, thorax: Thorax, lattice: Lattice, slab: Box) -> Field:
    """Return the Hounsfield units of a slab, (z, y, x) float32, after motion within its planes.

    The chest wall and the spine stay where they are.

    Parameters
    ----------
    values : ndarray
        (z, y, x) float32 Hounsfield units at rest.
    motion : Motion
        Displacements.
    thorax : Thorax
        Large organs.
    lattice : Lattice
        Lattice of the volume.
    slab : Box
        Box of whole planes.
    """
    if not (motion.heart or motion.diaphragm):
        return values
    inner = smoothstep(lattice.sample(thorax.cavity, slab), -3, 8)
    if motion.heart:
        near = smoothstep(lattice.sample(thorax.heart, slab), -NEAR_HEART, 0) * inner
        values = _between(values, near, motion.heart, motion.axis, motion.doubled, lattice)
    if motion.diaphragm:
        near = inner * (1 - smoothstep(lattice.sample(thorax.above, slab), 5, NEAR_DIAPHRAGM))
        values = _between(values, near, motion.diaphragm, 1, motion.doubled, lattice)
    return values


def _between(
    values: Field, near: Field, way: float, axis: int, doubled: bool, lattice: Lattice
) -> Field:
    kernel = displaced(way / lattice.voxel[axis], doubled=doubled)
    seen = ndimage.correlate1d(values, kernel, axis=axis, mode="nearest")
    out: Field = values + near * (seen - values)
    return out


def displaced(way: float, *, doubled: bool) -> Kernel:
    """Return the weights of what is seen at a voxel (odd number, sum 1).

    Parameters
    ----------
    way : float
        Displacement to both sides, in voxels.
    doubled : bool
        Whether only the end positions are seen, or all between them.
    """
    half = math.ceil(way + 0.5)
    place = np.arange(-half, half + 1, dtype=np.float64)
    if doubled:
        weights: Kernel = np.maximum(1 - np.abs(np.abs(place) - way), 0)
    else:
        weights = np.clip(way + 0.5 - np.abs(place), 0, 1)
    total: Kernel = weights / weights.sum()
    return total
