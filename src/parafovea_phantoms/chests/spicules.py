"""Spicules: thin strands that radiate from a lesion into the lung around it."""

from __future__ import annotations

import numpy as np

from parafovea.geometry.grid import Box, shape3
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.lattice import Field, Lattice

#: Range of the number of strands, of their length in radii of the lesion, and of their radius at
#: the lesion in millimetres; they taper to a third.
COUNT, LENGTH, RADIUS = (8, 22), (0.35, 1.1), (0.35, 0.9)

#: Hounsfield units of a strand.
STRAND = 10.0


def random_spicules(rng: np.random.Generator, diameter: float) -> Tubes:
    """Return the spicules of a lesion at the origin, in millimetres.

    Parameters
    ----------
    rng : Generator
        Random generator of the lesion's population.
    diameter : float
        Diameter of the lesion, in millimetres.
    """
    count = int(rng.integers(*COUNT, endpoint=True))
    ways = rng.uniform(-1, 1, size=(count, 3)) + 1e-3
    ways /= np.sqrt((ways * ways).sum(axis=1, keepdims=True))
    radius = diameter / 2
    lengths = np.clip(radius * rng.uniform(*LENGTH, size=count), 2.0, 12.0)
    thick = rng.uniform(*RADIUS, size=count)
    bent = rng.uniform(-0.15, 0.15, size=(count, 3)) * lengths[:, None]
    begin = 0.8 * radius * ways
    middle = (radius + 0.5 * lengths)[:, None] * ways + bent
    end = (radius + lengths)[:, None] * ways
    return Tubes.together(
        [Tubes(begin, middle, thick, 0.65 * thick), Tubes(middle, end, 0.65 * thick, 0.3 * thick)]
    )


def draw_strands(
    strands: Tubes, lattice: Lattice, slab: Box, *, value: float, values: Field, within: Field
) -> None:
    """Draw strands into a slab, in place.

    Parameters
    ----------
    strands : Tubes
        Strands, in millimetres of the volume.
    lattice : Lattice
        Lattice of the volume.
    slab : Box
        Box of whole planes.
    value : float
        Hounsfield units of a strand.
    values : ndarray
        (z, y, x) float32 Hounsfield units of the slab.
    within : ndarray
        (z, y, x) float32 share of each voxel where strands are drawn, such as that of lung texture.
    """
    if len(strands) == 0:
        return
    width = sum(lattice.voxel) / 3
    offset, voxel = np.array(lattice.offset), np.array(lattice.voxel)
    wide = float(np.maximum(strands.first, strands.last).max()) + width
    both = np.concatenate([strands.begin, strands.end])
    low = np.floor((both.min(axis=0) - wide - offset) / voxel).astype(int)
    high = np.ceil((both.max(axis=0) + wide - offset) / voxel).astype(int) + 1
    box = Box(shape3(low.tolist()), shape3(high.tolist())).intersection(slab)
    if box.size == 0:
        return
    here = box.relative_to(slab.start).slices
    part = strands.coverage(lattice, box, width) * within[here]
    raised = np.maximum(np.float32(value) - values[here], 0)
    values[here] += part * raised
