"""Bones: ribs, costal cartilage and clavicles as tubes; sternum, scapulae and spine as shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parafovea_phantoms.chests.frame import Frame, Points, Positions
from parafovea_phantoms.chests.thorax import SPINE, curve, wall
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.lattice import Field

#: Distance between vertebrae, and z of the first one's centre, in the frame's millimetres.
PITCH, FIRST = 22.0, 97.0

#: Thickness of cortical bone.
CORTEX = 1.4

#: Distance of a rib's centreline from the inner chest wall.
OUTSIDE = 6.0

#: For each rib: angle from posterior at which its bone ends, in degrees; drop of its anterior end
#: below its head; z at which its cartilage meets the sternum, or None.
_RIBS: tuple[tuple[float, float, float | None], ...] = (
    (140, 38, 52),
    (146, 46, 40),
    (146, 54, 22),
    (146, 60, 4),
    (144, 66, -14),
    (141, 70, -34),
    (136, 72, -54),
    (128, 70, None),
    (118, 64, None),
    (106, 54, None),
    (76, 34, None),
    (54, 20, None),
)


@dataclass(frozen=True)
class Bones:
    """Tubes of bone and of cartilage, in millimetres of the volume."""

    bone: Tubes
    cartilage: Tubes


def plan_bones(frame: Frame) -> Bones:
    """Return ribs, clavicles and costal cartilage."""
    bone, cartilage = [], []
    for side in (-1.0, 1.0):
        for number, (end, drop, sternum) in enumerate(_RIBS):
            top = FIRST - PITCH * number
            spine = float(curve(SPINE, np.array([top], dtype=np.float32))[0])
            head = [[top, spine + 6, side * 19], [top - 2, spine + 24, side * 36]]
            part = np.linspace(34 / end, 1.0, 22)
            fall = top - 3 - drop * part * part * (3 - 2 * part) * 0.94 - 2 * part
            body = _on_wall(fall, part * end, side)
            radius = 3.6 + 1.2 * np.minimum(1, number / 3) * (1 - 0.3 * (part > 0.9))
            through = np.concatenate([np.array(head), body])
            bone.append(Tubes.chain(through, [4.2, 4.0, *radius.tolist()]))
            if sternum is not None:
                way = np.linspace(0, 1, 8)
                heights = fall[-1] + (sternum - fall[-1]) * way * way * (3 - 2 * way)
                angles = end + (171 - end) * way
                cartilage.append(Tubes.chain(_on_wall(heights, angles, side), [4.4] * 8))
        collar = [[54, -62, 14], [66, -58, 40], [80, -40, 75], [92, -10, 110], [98, 16, 140]]
        bone.append(Tubes.chain(np.array(collar) * [1, 1, side], [7, 5.5, 5, 5.5, 6.5]))
    return Bones(Tubes.together(bone).placed(frame), Tubes.together(cartilage).placed(frame))


def _on_wall(z: Points, degrees: Points, side: float) -> Points:
    """Return points outside of the inner chest wall, by height and angle from posterior."""
    angle = np.deg2rad(degrees)
    out = np.stack([np.zeros_like(angle), np.cos(angle), side * np.sin(angle)], axis=1)
    near, far = np.zeros(len(z)), np.full(len(z), 250.0)
    for _ in range(30):
        middle = (near + far) / 2
        at = _from_axis(z, out, middle)
        inside = wall(*(c.astype(np.float32) for c in at.T)) < 1
        near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    return _from_axis(z, out, near + OUTSIDE)


def _from_axis(z: Points, out: Points, distance: Points) -> Points:
    points: Points = out * distance[:, None]
    points[:, 0] = z
    points[:, 1] += 6
    return points


def plates(at: Positions, outside: Field) -> Field:
    """Return the signed distance to sternum and scapulae, positive inside.

    Parameters
    ----------
    at : tuple of ndarray
        z, y, x in the frame.
    outside : ndarray
        (z, y, x) distance from the inner chest wall outwards, in the frame's millimetres.
    """
    z, y, x = at
    aside = np.abs(x)
    breadth = np.where(z > 18, np.float32(15) + np.float32(0.35) * (z - 18), np.float32(14))
    sternum = np.minimum(np.minimum(breadth - aside, 5 - np.abs(outside - 7)), -y - 20)
    sternum = np.minimum(sternum, np.minimum(z + 80, 56 - z))
    lean = np.float32(0.3) * (60 - z)
    blade = np.minimum(np.minimum(z + 22, 88 - z), np.minimum(aside - 58 + lean * 0.2, 126 - aside))
    blade = np.minimum(blade, np.minimum(y - 18, np.float32(2.6) - np.abs(outside - 19)))
    both: Field = np.maximum(sternum, blade)
    return both


def vertebrae(at: Positions) -> tuple[Field, Field, Field]:
    """Return signed distances to vertebrae, discs and the spinal canal, positive inside.

    Parameters
    ----------
    at : tuple of ndarray
        z, y, x in the frame, around the spine.
    """
    z, y, x = at
    behind = y - curve(SPINE, z)
    aside = np.abs(x)
    level = (FIRST - z) / np.float32(PITCH)
    height = (level - np.rint(level)) * np.float32(PITCH)
    half = np.float32(0.4 * PITCH)
    waist = 1 + np.float32(0.10) * (height / half) * (height / half)
    breadth, depth = 17 * waist, 14 * waist
    ring = np.sqrt((x / breadth) * (x / breadth) + (behind / depth) * (behind / depth))
    edge = (1 - ring) * 15
    body = np.minimum(edge, half - np.abs(height))
    disc = np.minimum(edge, np.abs(height) - half)
    back = behind - 23
    canal = np.float32(8.5) - np.sqrt(x * x + back * back)
    lamina = np.minimum(np.float32(2.8) - np.abs(canal + np.float32(2.8)), 7 - np.abs(height - 1))
    lower = height + np.float32(0.8) * np.maximum(back - 10, 0) - 2
    thorn = np.minimum(np.minimum(np.float32(2.6) - aside, back - 8), 34 - back)
    thorn = np.minimum(thorn, 7 - np.abs(_wrapped(lower)))
    wing_y = back - 2 - np.float32(0.45) * np.maximum(aside - 10, 0)
    wing = 5 - np.sqrt(wing_y * wing_y + (height + 1) * (height + 1))
    wing = np.minimum(wing, np.minimum(aside - 9, 36 - aside))
    bone: Field = np.maximum(np.maximum(body, lamina), np.maximum(thorn, wing))
    return np.minimum(bone, -canal), disc, canal


def _wrapped(height: Field) -> Field:
    """Return heights relative to the nearest vertebra."""
    turns: Field = height - np.rint(height / np.float32(PITCH)) * np.float32(PITCH)
    return turns
