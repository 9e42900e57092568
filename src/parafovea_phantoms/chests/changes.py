"""Changes of lung and pleura that are no lesions, though they look like some.

Pleural thickening and plaques, effusion, dependent consolidation, plates of atelectasis, scars, and
mucus plugs (Fleischner Society glossary, Radiology 246, 2008, 697-722).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parafovea_phantoms.chests.circulation import with_walls
from parafovea_phantoms.chests.frame import Points
from parafovea_phantoms.chests.plates import Plate, random_plate
from parafovea_phantoms.chests.random_streams import CHANGES
from parafovea_phantoms.chests.thorax import Thorax
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.lattice import Field, random_stream, smoothstep

#: Range of the number of plates and of scars; largest radius in millimetres of a plugged airway.
PLATES, SCARS, PLUGGED = (2, 6), (2, 7), 3.2

#: Depth in millimetres below the surface of the lung at which layers on it start, so that none is
#: drawn where there is none.
UNDER = 2.0

#: Half the distance in millimetres over which a consolidation fades, and height of its patches.
FADING, PATCHES = 7.0, 9.0


@dataclass(frozen=True)
class ChangeSizes:
    """How much of each change a chest has; 0 and empty ranges of none.

    Parameters
    ----------
    pleura, pleura_value : float
        Greatest thickness of the pleura in millimetres, and its Hounsfield units.
    fluid : float
        Greatest thickness of a pleural effusion, in millimetres.
    consolidation, consolidation_value : float
        Greatest thickness of dependent consolidation in millimetres, and its Hounsfield units.
    sides : tuple of int
        Sides with effusion and consolidation, -1 right and 1 left.
    plates, scars, plugs : bool
        Whether there are plates of atelectasis, scars, and mucus plugs.
    """

    pleura: float = 0.0
    pleura_value: float = 45.0
    fluid: float = 0.0
    consolidation: float = 0.0
    consolidation_value: float = 30.0
    sides: tuple[int, ...] = (-1, 1)
    plates: bool = False
    scars: bool = False
    plugs: bool = False

    @property
    def present(self) -> bool:
        """Whether there is any change."""
        layers = self.pleura > 0 or self.fluid > 0 or self.consolidation > 0
        return layers or self.plates or self.scars or self.plugs


#: Those of a plain chest: none.
UNCHANGED = ChangeSizes()


@dataclass(frozen=True)
class Changes:
    """The changes of a chest; fields are float32 (z, y, x) at lattice points.

    Parameters
    ----------
    sizes : ChangeSizes
        What they were made from.
    pleura, fluid : ndarray, optional
        Signed distance to thick pleura and to fluid in millimetres, positive inside.
    consolidation : ndarray, optional
        Share of consolidated lung.
    plates : tuple of Plate
        Plates of atelectasis.
    scars, plugs : Tubes
        Scars, and plugged airways.
    """

    sizes: ChangeSizes
    pleura: Field | None
    fluid: Field | None
    consolidation: Field | None
    plates: tuple[Plate, ...]
    scars: Tubes
    plugs: Tubes

    def clear(self, lung: Field) -> Field:
        """Return the signed distance to lung without dense changes, from that to the lung."""
        for field in (self.pleura, self.fluid):
            if field is not None:
                lung = np.minimum(lung, -field)
        if self.consolidation is not None:
            lung = np.where(self.consolidation > 0.3, np.minimum(lung, -1), lung)
        return lung


def plan_changes(seed: int, sizes: ChangeSizes, thorax: Thorax, airways: Tubes) -> Changes | None:
    """Return the changes of a chest; without any, None.

    Parameters
    ----------
    seed : int
        Seed of the phantom.
    sizes : ChangeSizes
        How much of each there is.
    thorax : Thorax
        Large organs.
    airways : Tubes
        Airways inside the lungs, by their inner radius.
    """
    if not sizes.present:
        return None
    lattice = thorax.lattice
    z, y, x = thorax.frame.inside(lattice.positions())
    surface, patches, single, tubes = (random_stream(seed, CHANGES, n) for n in range(4))
    out = np.minimum(thorax.cavity, thorax.above)
    side = sum((smoothstep(s * x, -6, 6) for s in sizes.sides), np.float32(0))
    # What is dependent: thick at the back and at the bases.
    low = smoothstep(y, -5, 60) * (1 - smoothstep(z, -70, 40)) * np.minimum(side, 1)
    pleura = fluid = consolidation = None
    if sizes.pleura:
        cover = smoothstep(lattice.noise(surface, 14.0), 0.5, 1.3)
        pleura = np.minimum(thorax.lung, (sizes.pleura + UNDER) * cover - UNDER - out)
    if sizes.fluid:
        fluid = np.minimum(thorax.lung, (sizes.fluid + UNDER) * low - UNDER - thorax.cavity)
    if sizes.consolidation:
        beyond = sizes.fluid * low if sizes.fluid else 0
        depth = beyond + sizes.consolidation * low - thorax.cavity
        depth = depth + PATCHES * lattice.noise(patches, 6.0) * (low > 0.02)
        consolidation = smoothstep(depth.astype(np.float32), -FADING, FADING)
        consolidation = (consolidation * smoothstep(low, 0.02, 0.2)).astype(np.float32)
    points = np.argwhere((thorax.lung > 1) & (out < 22)) * np.array(lattice.step)
    plates: list[Plate] = []
    scars: list[Tubes] = []
    if sizes.plates and len(points):
        for _ in range(int(single.integers(*PLATES, endpoint=True))):
            plates.append(random_plate(single, points[int(single.integers(len(points)))]))
    if sizes.scars and len(points):
        for _ in range(int(single.integers(*SCARS, endpoint=True))):
            scars.append(_scar(single, points[int(single.integers(len(points)))]))
    plugs = airways.selected(np.zeros(len(airways), dtype=bool))
    if sizes.plugs:
        thin = np.maximum(airways.first, airways.last) < PLUGGED
        plugs = with_walls(airways.selected(thin & (tubes.uniform(size=len(airways)) < 0.08)))
    return Changes(sizes, pleura, fluid, consolidation, tuple(plates), Tubes.together(scars), plugs)


def _scar(rng: np.random.Generator, start: Points) -> Tubes:
    """Return a scar: an irregular strand from a point, in millimetres."""
    way = rng.uniform(-1, 1, size=3)
    count = int(rng.integers(3, 7))
    radius = float(rng.uniform(0.6, 1.8))
    points, radii = [np.asarray(start, dtype=np.float64)], [radius]
    for _ in range(count):
        way = 0.75 * way + 0.5 * rng.uniform(-1, 1, size=3)
        length = np.sqrt(float(way @ way)) + 1e-6
        points.append(points[-1] + way / length * float(rng.uniform(3, 8)))
        radii.append(radius * float(rng.uniform(0.4, 1.1)))
    return Tubes.chain(np.array(points), radii)
