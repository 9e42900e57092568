"""Rendering of lesions: body, core and spicules."""

from __future__ import annotations

import numpy as np

from parafovea.geometry.grid import Box
from parafovea_phantoms.chests.lesions import DrawnLesion
from parafovea_phantoms.chests.spicules import STRAND, draw_strands
from parafovea_phantoms.lattice import Field, Lattice


def add_lesion(
    body: DrawnLesion, lattice: Lattice, slab: Box, *, values: Field, lung_texture: Field
) -> None:
    """Draw a nodule or decoy into a slab's Hounsfield units and lung texture, in place.

    `lattice` is that of the volume.
    """
    draw_strands(
        body.lesion.strands,
        lattice,
        slab,
        value=STRAND,
        values=values,
        within=lung_texture,
    )
    common = body.box.intersection(slab)
    if common.size == 0:
        return
    here = common.relative_to(slab.start).slices
    part = body.share[common.relative_to(body.box.start).slices]
    solid = np.float32(body.lesion.value)
    if "ground glass" in body.lesion.kind:
        # Structures denser than ground glass, such as vessels, show through it.
        values[here] += part * np.clip(np.float32(-150) - values[here], 0, solid)
    else:
        values[here] += part * (solid - values[here])
        lung_texture[here] *= 1 - part
    if body.lesion.core is not None:
        part = body.core_share[common.relative_to(body.box.start).slices]
        values[here] += part * (np.float32(body.lesion.core.value) - values[here])
        lung_texture[here] *= 1 - part
