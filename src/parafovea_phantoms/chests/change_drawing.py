"""Rendering of changes of lung and pleura that are no lesions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box
from parafovea_phantoms.chests import tissues
from parafovea_phantoms.chests.changes import Changes
from parafovea_phantoms.chests.spicules import draw_strands
from parafovea_phantoms.lattice import Field, Lattice

#: Hounsfield units of fluid, of plates and scars, and of mucus.
FLUID, FIBROUS, MUCUS = 8.0, 10.0, 25.0


def draw_changes(
    changes: Changes,
    lattice: Lattice,
    slab: Box,
    *,
    lung: float,
    values: Field,
    lung_texture: Field,
    regions: NDArray[np.uint8],
) -> None:
    """Draw changes into a slab, in place.

    Parameters
    ----------
    changes : Changes
        The changes.
    lattice : Lattice
        Lattice of the volume.
    slab : Box
        Box of whole planes.
    lung : float
        Hounsfield units of the least dense lung that is filled.
    values, lung_texture : ndarray
        (z, y, x) float32 Hounsfield units, and share of lung texture.
    regions : ndarray
        (z, y, x) uint8 tissues; thick pleura and fluid become muscle, the rest stays lung.
    """
    sizes, width = changes.sizes, sum(lattice.voxel) / 3
    inside = (regions >= tissues.LUNG_REGION).astype(np.float32)
    # Gas outside of the lungs has the texture of lung, too.
    texture = lung_texture * (regions != tissues.POCKET_REGION)
    filled = np.maximum(texture, inside)
    if changes.consolidation is not None:
        # Fissures disappear in it, air in bronchi does not.
        part = lattice.sample(changes.consolidation, slab) * filled
        part *= regions != tissues.BRONCHUS_REGION
        _fill(values, part, sizes.consolidation_value, lung)
        lung_texture *= 1 - part
    for plate in changes.plates:
        box = plate.box(lattice).intersection(slab)
        if box.size:
            here = box.relative_to(slab.start).slices
            part = plate.coverage(lattice, box, width) * texture[here]
            values[here] += part * np.maximum(np.float32(FIBROUS) - values[here], 0)
    draw_strands(changes.scars, lattice, slab, value=FIBROUS, values=values, within=texture)
    draw_strands(changes.plugs, lattice, slab, value=MUCUS, values=values, within=inside)
    for field, value in ((changes.pleura, sizes.pleura_value), (changes.fluid, FLUID)):
        if field is not None:
            part = np.clip(lattice.sample(field, slab) * np.float32(1 / width) + 0.5, 0, 1)
            _fill(values, part * (filled > 0), value, lung)
            # Vessels do not cross it.
            values += part * inside * (np.float32(value) - values)
            lung_texture *= 1 - part
            regions[(part >= 0.5) & (inside > 0)] = tissues.MUSCLE_REGION


def _fill(values: Field, part: Field, value: float, lung: float) -> None:
    """Fill a share of each voxel with a tissue instead of lung, in place.

    At the wall of the lung, where a voxel has a smaller share of lung, the rest stays. What is
    denser than the tissue stays too.
    """
    most = np.maximum(values, np.float32(value))
    np.minimum(values + part * np.float32(max(value - lung, 0)), most, out=values)
