"""Large organs of a chest as signed distances on a coarse lattice.

All numbers are for an average adult at full inspiration, in millimetres of the body frame;
`frame.body_frame` fits the body into the field of view.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from parafovea.geometry.grid import Vector
from parafovea_phantoms.chests.frame import Frame, Points, Positions
from parafovea_phantoms.chests.random_streams import LAYERS, SURFACES
from parafovea_phantoms.lattice import Field, Lattice, random_stream

_Knots = tuple[tuple[float, float], ...]

#: Half width and half depth of the inner chest wall, the y of its centre, and the distance of the
#: two apices from the midline, by z.
_WIDTH: _Knots = (
    (-200, 134),
    (-150, 135),
    (-100, 135),
    (-50, 130),
    (0, 118),
    (40, 90),
    (70, 58),
    (90, 34),
    (103, 16),
    (120, 14),
)
_DEPTH: _Knots = (
    (-200, 84),
    (-100, 86),
    (-50, 84),
    (0, 78),
    (40, 66),
    (70, 50),
    (90, 34),
    (103, 18),
    (120, 16),
)
_BACK: _Knots = ((-200, 2), (-50, 2), (0, 4), (50, 8), (90, 16), (120, 18))
_APART: _Knots = ((-200, 0), (20, 0), (50, 14), (80, 33), (103, 42), (120, 42))

#: Half width and half depth of the skin.
_SKIN_WIDTH: _Knots = (
    (-200, 156),
    (-100, 160),
    (0, 163),
    (50, 168),
    (80, 176),
    (96, 166),
    (112, 122),
    (125, 76),
    (140, 64),
    (200, 62),
)
_SKIN_DEPTH: _Knots = (
    (-200, 108),
    (-60, 112),
    (0, 111),
    (50, 104),
    (90, 92),
    (110, 78),
    (130, 66),
    (200, 62),
)

#: The y of the centre of the vertebral bodies, and half the width of the mediastinum.
SPINE: _Knots = ((-200, 50), (-150, 54), (-60, 62), (0, 64), (60, 56), (100, 44), (130, 32))
_BETWEEN: _Knots = ((-200, 26), (-80, 30), (-20, 33), (20, 35), (60, 32), (110, 30))


def curve(knots: _Knots, z: Field) -> Field:
    """Return a smooth curve through knots at heights z (same axes, float32)."""
    smooth: Field = np.interp(z, *_table(knots)).astype(np.float32)
    return smooth


@functools.cache
def _table(knots: _Knots) -> tuple[Points, Points]:
    at, values = np.array(knots, dtype=np.float64).T
    heights = np.linspace(at[0], at[-1], 1001)
    return heights, np.asarray(PchipInterpolator(at, values)(heights))


def wall(z: Field, y: Field, x: Field) -> Field:
    """Return the normalized radius of a position in the frame: 1 on the inner chest wall."""
    sideways: Field = np.maximum(np.abs(x) - curve(_APART, z), 0)
    return _round_box(sideways / curve(_WIDTH, z), (y - curve(_BACK, z)) / curve(_DEPTH, z))


def _round_box(u: Field, v: Field) -> Field:
    """Return a norm between that of a circle and of a square."""
    uu, vv = u * u, v * v
    circle, square = np.sqrt(uu + vv), np.sqrt(np.sqrt(uu * uu + vv * vv))
    size: Field = circle * np.float32(0.65) + square * np.float32(0.35)
    return size


@dataclass(frozen=True)
class Thorax:
    """Signed distances in millimetres, positive inside; float32 (z, y, x) at lattice points.

    Parameters
    ----------
    lattice : Lattice
        Lattice of the fields, in millimetres.
    frame : Frame
        The body frame.
    skin, cavity : ndarray
        The body, and the space inside the ribs (with the upper abdomen).
    lung : ndarray
        Both lungs.
    above : ndarray
        The space above the diaphragm.
    major, minor : ndarray
        The space behind the oblique fissure, and above the horizontal one, which only the right
        lung has.
    heart, liver, spleen : ndarray
        The organs.
    layers : tuple of ndarray
        Four smooth noise fields of mean 0 and variance 1, for variation within tissues.
    """

    lattice: Lattice
    frame: Frame
    skin: Field
    cavity: Field
    lung: Field
    above: Field
    major: Field
    minor: Field
    heart: Field
    liver: Field
    spleen: Field
    layers: tuple[Field, Field, Field, Field]


def plan_thorax(seed: int, lattice: Lattice, frame: Frame, *, between: Field) -> Thorax:
    """Return the large organs of the chest of a seed.

    Parameters
    ----------
    seed : int
        Seed of the phantom.
    lattice : Lattice
        Lattice of the fields, in millimetres.
    frame : Frame
        The body frame.
    between : ndarray
        (z, y, x) float32 at lattice points: signed distance to structures that displace the lungs,
        in millimetres, positive inside.
    """
    rng = random_stream(seed, SURFACES)
    z, y, x = frame.inside(lattice.positions())
    scale = np.float32(frame.scale)
    uneven = [scale * lattice.noise(rng, sigma) for sigma in (22.0, 22.0, 12.0, 30.0, 30.0)]
    girth = rng.uniform(0.97, 1.03, size=2)

    def distance(field: Field) -> Field:
        return lattice.distance(field, 1e-3)

    skin = 1 - _round_box(
        x / (curve(_SKIN_WIDTH, z) * np.float32(girth[0])),
        (y - 7) / (curve(_SKIN_DEPTH, z) * np.float32(girth[1])),
    )
    skin = distance(skin) + 2 * uneven[0]
    cavity = distance(1 - wall(z, y, x)) + np.float32(1.2) * uneven[1]
    # The apex of each lung is a dome; farther from its centre, the walls are the border.
    domes = (np.abs(x) - 40) * (np.abs(x) - 40) + (y - 14) * (y - 14)
    domes = np.minimum(domes, 1700)
    cavity = np.minimum(cavity, distance(105 - z - np.float32(0.016) * domes))
    above = distance(z - _diaphragm(rng, y, x)) + np.float32(1.5) * uneven[2]
    heart = distance(1 - _heart(rng, z, y, x)) + uneven[1]
    column: Field = (y - curve(SPINE, z) - 10) / np.float32(28)
    core = _merged(
        distance(1 - _round_box(x / curve(_BETWEEN, z), (y - 6) / np.float32(56))),
        distance(1 - _round_box(x / np.float32(26), column)),
        8.0,
    )
    septum = np.minimum(4 - np.abs(x - 4), -y) * scale
    middle = _merged(_merged(core, heart + 2, 8.0), septum, 10.0)
    middle = _merged(middle, between, 5.0)
    lung = np.minimum(np.minimum(cavity, above), -middle - np.float32(0.4) * uneven[2])
    below = -above - 3
    inside = np.minimum(cavity - 3, below)
    # The left lobe tapers to an edge.
    lobe = (44 - np.maximum(x + 10, 0) - np.maximum(y, 0) * np.float32(0.6)) * scale
    liver = np.minimum(inside, distance(lobe + above / 4 + uneven[0]))
    spleen = np.minimum(inside, distance(1 - _ellipsoid((z, y, x), (-136, 40, 90), (42, 42, 30))))
    major = (y - 8 + np.float32(0.80) * (z - 12)) * np.float32(0.78) * scale + 4 * uneven[3]
    minor = (z + 14 + np.float32(0.12) * (y + 40)) * scale + 4 * uneven[4]
    layers = random_stream(seed, LAYERS)

    def full(field: Field) -> Field:
        return np.ascontiguousarray(np.broadcast_to(field, lattice.shape), dtype=np.float32)

    return Thorax(
        lattice,
        frame,
        skin=full(skin),
        cavity=full(cavity),
        lung=full(lung),
        above=full(above),
        major=full(major),
        minor=full(minor),
        heart=full(heart),
        liver=full(liver),
        spleen=full(spleen),
        layers=(
            lattice.noise(layers, 20.0),
            lattice.noise(layers, 16.0),
            lattice.noise(layers, 5.0),
            lattice.noise(layers, 5.0),
        ),
    )


def _merged(first: Field, second: Field, round_off: float) -> Field:
    """Return the union of two shapes, with concave edges rounded over some millimetres."""
    k = np.float32(round_off)
    near = np.maximum(k - np.abs(first - second), 0)
    union: Field = np.maximum(first, second) + near * near / (4 * k)
    return union


def _ellipsoid(at: Positions, centre: Vector, semi: Vector) -> Field:
    z, y, x = (
        (p - np.float32(c)) / np.float32(s) for p, c, s in zip(at, centre, semi, strict=True)
    )
    size: Field = np.sqrt(z * z + y * y + x * x)
    return size


def _heart(rng: np.random.Generator, z: Field, y: Field, x: Field) -> Field:
    """Return a norm that is 1 on the pericardium: an egg pointing down, forward and left."""
    along = np.array([-0.45, -0.55, 0.70])
    along /= math.sqrt(float(along @ along))
    size = np.float32(rng.uniform(0.93, 1.08))
    dz, dy, dx = z + 54, y + 20, x - 20
    axis = dz * np.float32(along[0]) + dy * np.float32(along[1]) + dx * np.float32(along[2])
    square = dz * dz + dy * dy + dx * dx
    across = np.maximum(square - axis * axis, 0)
    # The apex is slimmer than the base.
    slim = np.float32(46) - np.float32(0.10) * axis
    norm: Field = np.sqrt((axis / 62) * (axis / 62) + across / (slim * slim)) / size
    return norm


def _diaphragm(rng: np.random.Generator, y: Field, x: Field) -> Field:
    """Return the height of the diaphragm: two domes, the right one higher."""
    right = -82 + float(rng.uniform(-6, 6))
    left = right - float(rng.uniform(8, 15))
    domes = []
    for top, middle, out in ((right, -68.0, -1), (left, 72.0, 1)):
        aside = (x - np.float32(middle)) * out
        outer, inner = np.maximum(aside, 0), np.maximum(-aside, 0)
        back, front = np.maximum(y + 8, 0), np.maximum(-8 - y, 0)
        domes.append(
            np.float32(top)
            - np.float32(0.0105) * outer * outer
            - np.float32(0.0035) * inner * inner
            - np.float32(0.0068) * back * back
            - np.float32(0.0040) * front * front
        )
    t = np.clip((x + 25) / 60, 0, 1)
    t = t * t * (3 - 2 * t)
    height: Field = domes[0] * (1 - t) + domes[1] * t
    return height
