"""The body frame: anatomy is defined once, in millimetres, and placed in any volume.

The frame's x points to the patient's left, y to posterior, z to superior; its origin is the carina,
where the trachea divides. Positions in a volume are those of its lattice, in millimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import ConfigError
from parafovea.geometry.grid import Grid, Vector, vector3
from parafovea_phantoms.chests.random_streams import BODY
from parafovea_phantoms.lattice import Field, random_stream

Points = NDArray[np.float64]
Positions = tuple[Field, Field, Field]

#: Field of view of the body at full size along z, y, x, and its centre, in the frame.
EXTENT: Vector = (272.0, 236.0, 330.0)
MIDDLE: Vector = (-26.0, 8.0, 0.0)

#: Scale of the smallest body, and the largest spacing in millimetres.
SMALLEST_BODY = 0.75
LARGEST_SPACING = 10.0


@dataclass(frozen=True)
class Frame:
    """Position, size and small rotation of a body about its long axis.

    Parameters
    ----------
    centre : tuple of float
        Position of the frame's origin in the volume, z, y, x, in millimetres.
    scale : float
        Millimetres of the volume per millimetre of the frame.
    turn : float
        Angle about z, in radians.
    """

    centre: Vector
    scale: float
    turn: float

    def inside(self, positions: Positions) -> Positions:
        """Convert positions in the volume to the frame, z, y, x (broadcastable float32)."""
        z, y, x = (p - np.float32(c) for p, c in zip(positions, self.centre, strict=True))
        cos = np.float32(math.cos(self.turn) / self.scale)
        sin = np.float32(math.sin(self.turn) / self.scale)
        return z * np.float32(1 / self.scale), y * cos - x * sin, x * cos + y * sin

    def placed(self, points: Points) -> Points:
        """Convert points of the frame to positions in the volume, (n, 3) along z, y, x."""
        z, y, x = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        turned = np.stack([z, y * cos + x * sin, x * cos - y * sin], axis=-1)
        placed: Points = turned * self.scale + np.array(self.centre)
        return placed


def require_chest(grid: Grid) -> None:
    """Raise `ConfigError` if a grid (in millimetres) is too small or too coarse for a chest."""
    if max(grid.spacing) > LARGEST_SPACING:
        raise ConfigError(
            f"spacing {_listed(grid.spacing)} mm is too coarse for a chest: use at most "
            f"{LARGEST_SPACING:g} mm along every axis"
        )
    if _room(grid) < SMALLEST_BODY:
        least = [SMALLEST_BODY * n for n in EXTENT]
        raise ConfigError(
            f"a field of view of {_listed(grid.extent)} mm (z, y, x) is too small for a chest: use "
            f"a shape and spacing that cover at least {_listed(least)} mm"
        )


def body_frame(seed: int, grid: Grid, *, shrink: float = 1.0) -> Frame:
    """Return the body frame of a seed in a field of view, a grid in millimetres.

    `shrink` is the size of the body relative to the one that would be drawn.
    """
    rng = random_stream(seed, BODY)
    scale = min(float(rng.uniform(0.94, 1.06)), _room(grid)) * shrink
    turn = math.radians(float(rng.uniform(-3, 3)))
    centre = [
        (n - 1) * s / 2 - scale * m
        for n, s, m in zip(grid.shape, grid.spacing, MIDDLE, strict=True)
    ]
    return Frame(vector3(centre), scale, turn)


def _room(grid: Grid) -> float:
    """Return the scale of the largest body that fits."""
    return min(e / n for e, n in zip(grid.extent, EXTENT, strict=True))


def _listed(values: Vector | list[float]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
