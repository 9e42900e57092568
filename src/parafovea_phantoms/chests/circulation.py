"""Vessels, airways and oesophagus: hand-drawn outside of the lungs, grown inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea_phantoms.chests.frame import Frame
from parafovea_phantoms.chests.random_streams import AIRWAYS, ARTERIES, VEINS
from parafovea_phantoms.chests.thorax import Thorax
from parafovea_phantoms.chests.trees import grow
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.lattice import random_stream

#: Position of the hila, right and left, in the frame.
HILA = ((-20.0, 20.0, -40.0), (-24.0, 22.0, 43.0))

#: Lung volume supplied by one terminal branch of arteries and of veins, and by one of airways,
#: in cubic millimetres.
SERVED, AIRED = 1200.0, 14000.0

#: Radius of terminal vessels, and of the thinnest airway that is drawn, in millimetres.
VESSEL_TIP, AIRWAY_TIP, LEAST_AIRWAY = 0.55, 0.75, 1.35

#: Thickness of an airway's wall: a share of the radius plus a constant in millimetres.
WALL_SHARE, WALL = 0.10, 0.55

#: Polylines of (z, y, x, radius) in the frame.
_VESSELS: tuple[tuple[tuple[float, float, float, float], ...], ...] = (
    # aorta
    (
        (-38, -25, 2, 15.5),
        (-14, -32, -10, 16),
        (14, -29, -13, 15.5),
        (34, -16, -6, 14.5),
        (41, 2, 8, 13.5),
        (36, 24, 19, 13),
        (20, 40, 26, 12.5),
        (-10, 45, 28, 12.5),
        (-80, 45, 21, 12),
        (-140, 38, 10, 11),
        (-220, 34, 4, 10),
    ),
    # three arteries of the arch
    ((42, -10, -3, 6.5), (70, -8, -14, 6), (98, -4, -24, 5), (140, 2, -30, 4)),
    ((43, 0, 6, 4), (75, 2, 17, 4), (140, 2, 28, 3.5)),
    ((41, 10, 13, 5), (80, 16, 23, 5), (108, 14, 38, 4.5), (112, 4, 75, 4)),
    # veins to the heart
    ((62, -22, -20, 8), (30, -18, -26, 9), (-26, -14, -28, 10)),
    ((62, -22, -20, 7), (88, -16, -28, 6.5), (140, -6, -38, 6)),
    ((62, -22, -20, 6.5), (70, -32, 4, 6.5), (88, -22, 32, 6.5), (140, -6, 40, 6)),
    ((-62, 12, -22, 11), (-100, 18, -22, 11), (-220, 28, -18, 11)),
    # pulmonary trunk and its two arteries
    ((-34, -48, 20, 14), (-10, -34, 22, 14), (0, -12, 20, 13)),
    ((0, -12, 20, 11.5), (-6, 2, -6, 11), (-10, 10, -34, 9.5)),
    ((0, -12, 20, 12), (2, 10, 34, 10.5), (-4, 18, 44, 9)),
    # pulmonary veins
    ((-32, 24, -10, 8), (-30, 18, -40, 6.5)),
    ((-34, 24, 14, 8), (-32, 18, 42, 6.5)),
    # azygos vein
    (
        (-140, 44, -6, 2.5),
        (-20, 44, -8, 3),
        (18, 34, -12, 4),
        (26, 10, -22, 4.5),
        (24, -14, -26, 5),
    ),
)

_WINDPIPE = ((150, -8, 0, 9), (120, -2, 0, 9), (60, 10, -1, 9), (24, 17, -2, 9), (2, 21, -1, 9.5))
_BRONCHI = (
    ((2, 21, -1, 8), (-10, 22, -18, 7.5), (-20, 22, -34, 7)),
    ((2, 21, -1, 7.5), (-12, 24, 20, 6.8), (-22, 25, 40, 6.2)),
)
_GULLET = (
    (150, 6, 2, 7),
    (100, 14, 4, 7),
    (45, 30, 6, 7),
    (0, 38, 6, 7),
    (-60, 37, 8, 7.5),
    (-105, 28, 14, 8),
    (-125, 10, 26, 8),
)


@dataclass(frozen=True)
class Passages:
    """Tubes of the mediastinum, in millimetres of the volume.

    Parameters
    ----------
    vessels, airways, gullet : Tubes
        Blood vessels; trachea and main bronchi by their inner radius; the oesophagus.
    """

    vessels: Tubes
    airways: Tubes
    gullet: Tubes


def passages(frame: Frame) -> Passages:
    """Return the great vessels, trachea, main bronchi and oesophagus."""
    return Passages(
        Tubes.together([_tube(line) for line in _VESSELS]).placed(frame),
        Tubes.together([_tube(line) for line in (_WINDPIPE, *_BRONCHI)]).placed(frame),
        _tube(_GULLET).placed(frame),
    )


def _tube(line: tuple[tuple[float, float, float, float], ...]) -> Tubes:
    return Tubes.chain([p[:3] for p in line], [p[3] for p in line])


def with_walls(airways: Tubes) -> Tubes:
    """Return the outer surface of airways."""
    return Tubes(
        airways.begin,
        airways.end,
        airways.first * (1 + WALL_SHARE) + WALL,
        airways.last * (1 + WALL_SHARE) + WALL,
    )


def lobes(thorax: Thorax, *, depth: float) -> list[tuple[int, NDArray[np.intp]]]:
    """Return the lattice points of each lobe at a depth of at least `depth` millimetres.

    Each with its side, 0 right and 1 left; (n, 3) integers z, y, x.
    """
    z, y, x = np.nonzero(thorax.lung > depth)
    heights, rows, columns = (p.reshape(-1) for p in thorax.lattice.positions())
    _, _, sideways = thorax.frame.inside((heights[z], rows[y], columns[x]))
    behind, over = thorax.major[z, y, x] > 0, thorax.minor[z, y, x] > 0
    right = sideways < 0
    points = np.stack([z, y, x], axis=1)
    masks = (
        (0, right & behind),
        (0, right & ~behind & over),
        (0, right & ~behind & ~over),
        (1, ~right & behind),
        (1, ~right & ~behind),
    )
    return [(side, points[mask]) for side, mask in masks]


def grown(seed: int, thorax: Thorax) -> tuple[Tubes, Tubes]:
    """Grow the vessels and the airways inside the lungs, lobe by lobe.

    Airways are given by their inner radius.
    """
    vessels: list[Tubes] = []
    airways: list[Tubes] = []
    step = np.array(thorax.lattice.step)
    voxel = float(np.prod(step))
    for number, (side, inside) in enumerate(lobes(thorax, depth=2.5)):
        if len(inside) == 0:
            continue
        bronchus = np.array(HILA[side])
        starts = (
            (ARTERIES, bronchus + np.array([8, -8, 0]), SERVED, VESSEL_TIP),
            (VEINS, bronchus + np.array([-10, -6, 0]), SERVED, VESSEL_TIP),
            (AIRWAYS, bronchus, AIRED, AIRWAY_TIP),
        )
        for stream, root, served, tip in starts:
            rng = random_stream(seed, stream, number)
            count = max(1, round(len(inside) * voxel / served))
            chosen = inside[rng.integers(0, len(inside), size=count)]
            points = (chosen + rng.uniform(-0.5, 0.5, size=(count, 3))) * step
            tree = grow(rng, thorax.frame.placed(root[None])[0], points, tip=tip)
            (airways if stream == AIRWAYS else vessels).append(tree)
    tubes = Tubes.together(airways)
    visible = tubes.selected(np.maximum(tubes.first, tubes.last) >= LEAST_AIRWAY)
    return Tubes.together(vessels), visible
