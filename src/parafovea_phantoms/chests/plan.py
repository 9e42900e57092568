"""The anatomy of a chest: all of its parts, generated in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parafovea.geometry.grid import Grid
from parafovea_phantoms.chests.changes import Changes, plan_changes
from parafovea_phantoms.chests.circulation import Passages, grown, passages, with_walls
from parafovea_phantoms.chests.frame import body_frame
from parafovea_phantoms.chests.pockets import WALL, Pockets, plan_pockets
from parafovea_phantoms.chests.skeleton import Bones, plan_bones
from parafovea_phantoms.chests.thorax import Thorax, plan_thorax
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.chests.variety import PLAIN, ChestVariety
from parafovea_phantoms.lattice import Lattice


@dataclass(frozen=True)
class Chest:
    """The anatomy of a chest, in millimetres of the volume.

    Parameters
    ----------
    thorax : Thorax
        Large organs.
    passages : Passages
        Great vessels, trachea, oesophagus.
    vessels, airways : Tubes
        Vessels and airways inside the lungs.
    bones : Bones
        Ribs, clavicles, cartilage.
    pockets : Pockets
        Gas pockets outside of the lungs.
    changes : Changes, optional
        Changes of lung and pleura that are no lesions.
    look : ChestVariety
        What differs between scanners and patients.
    """

    thorax: Thorax
    passages: Passages
    vessels: Tubes
    airways: Tubes
    bones: Bones
    pockets: Pockets
    changes: Changes | None
    look: ChestVariety


def plan_chest(seed: int, grid: Grid, look: ChestVariety = PLAIN) -> Chest:
    """Return the anatomy of the chest of a seed, for a grid in millimetres."""
    lattice = Lattice.over(grid, length=1.0)
    frame = body_frame(seed, grid, shrink=look.shrink)
    great = passages(frame)
    airways = with_walls(great.airways)
    middle = Tubes.together([great.vessels, airways, great.gullet])
    pockets = plan_pockets(seed, lattice, frame)
    between = np.maximum(2 - middle.distance(lattice, 30.0), pockets.inside + (WALL + 1))
    thorax = plan_thorax(seed, lattice, frame, between=between)
    vessels, bronchi = grown(seed, thorax)
    changes = plan_changes(seed, look.changes, thorax, bronchi)
    return Chest(thorax, great, vessels, bronchi, plan_bones(frame), pockets, changes, look)
