"""Gas pockets outside of the lungs that locally look like lung.

Each has the texture of lung, strands included, and may contain decoys of nodules. In patients such
places are a stomach or colon with food and gas, a hernia behind the heart, a dilated oesophagus, or
gas in the soft tissue of an armpit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parafovea.geometry.grid import Vector
from parafovea_phantoms.chests.circulation import SERVED, VESSEL_TIP
from parafovea_phantoms.chests.frame import Frame
from parafovea_phantoms.chests.random_streams import POCKETS
from parafovea_phantoms.chests.trees import grow
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.lattice import Field, Lattice, random_stream

#: Thickness of a pocket's wall, in millimetres.
WALL = 3.5

#: Possible pockets: centre and semi-axes z, y, x in the frame, largest first.
PLACES: tuple[tuple[Vector, Vector], ...] = (
    ((-124, -22, 58), (25, 40, 36)),  # stomach
    ((-134, -48, -62), (18, 26, 40)),  # colon in front of the liver
    ((-70, 28, -10), (25, 17, 20)),  # hernia behind the heart
    ((44, 6, 128), (26, 26, 19)),  # left armpit
    ((44, 6, -128), (26, 26, 19)),  # right armpit
    ((-150, -20, 104), (17, 30, 18)),  # colon below the spleen
)

#: Number of pockets of a phantom.
FEWEST, MOST = 4, 6


@dataclass(frozen=True)
class Pockets:
    """The gas pockets of a phantom.

    Parameters
    ----------
    inside : ndarray
        (z, y, x) float32 at lattice points: signed distance to the nearest pocket's inner wall,
        in millimetres, positive inside.
    strands : Tubes
        Strands through the pockets.
    """

    inside: Field
    strands: Tubes


def plan_pockets(seed: int, lattice: Lattice, frame: Frame) -> Pockets:
    """Return the gas pockets of a seed."""
    rng = random_stream(seed, POCKETS)
    count = int(rng.integers(FEWEST, MOST + 1))
    chosen = sorted(rng.permutation(len(PLACES))[:count].tolist())
    at = frame.inside(lattice.positions())
    uneven = lattice.noise(rng, 12.0)
    inside = np.full(lattice.shape, -1e3, dtype=np.float32)
    strands = []
    step = np.array(lattice.step)
    for number in chosen:
        centre, semi = PLACES[number]
        size = rng.uniform(0.88, 1.05)
        z, y, x = (
            (p - np.float32(c)) / np.float32(s * size)
            for p, c, s in zip(at, centre, semi, strict=True)
        )
        one = lattice.distance(1 - np.sqrt(z * z + y * y + x * x), 1e-3) + uneven
        one = np.minimum(one, np.float32(min(semi) * size * frame.scale))
        inside = np.maximum(inside, one)
        points = np.argwhere(one > 1.5)
        if len(points) == 0:
            continue
        served = max(1, round(2 * len(points) * float(np.prod(step)) / SERVED))
        ends = (
            points[rng.integers(0, len(points), size=served)]
            + rng.uniform(-0.5, 0.5, size=(served, 3))
        ) * step
        root = frame.placed(np.array([centre]) + np.array([[0.0, semi[1] * size, 0.0]]))[0]
        strands.append(grow(rng, root, ends, tip=VESSEL_TIP))
    return Pockets(inside, Tubes.together(strands))
