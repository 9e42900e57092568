"""A simple chest in Hounsfield units, with its heatmap: ellipsoids in millimetres, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.geometry.grid import Grid

Array = np.ndarray[Any, Any]
Centre = tuple[float, float, float]

AIR, LUNG, TISSUE, BONE, TABLE = -1000.0, -850.0, 40.0, 600.0, 150.0


@dataclass(frozen=True)
class Nodule:
    """A ball: centre along z, y, x and radius in millimetres, its HU and its heat."""

    centre: Centre
    radius: float
    hu: float = 0.0
    heat: float = 0.95


def axes(grid: Grid) -> tuple[Array, Array, Array]:
    """Return the world positions of a grid's voxels along z, y, x, ready to broadcast."""
    z, y, x = (
        o + s * np.arange(n) for o, s, n in zip(grid.origin, grid.spacing, grid.shape, strict=True)
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]


def ellipsoid(grid: Grid, centre: Sequence[float], radii: Sequence[float]) -> Array:
    """Return which voxels lie within an ellipsoid."""
    terms = zip(axes(grid), centre, radii, strict=True)
    return np.asarray(sum(((a - c) / r) ** 2 for a, c, r in terms) <= 1)


def chest(grid: Grid, nodules: Sequence[Nodule] = ()) -> Array:
    """Return a chest of 120 x 200 x 280 mm (z, y, x) around the world's origin, on its table."""
    z, y, x = axes(grid)
    hu = np.full(grid.shape, AIR, np.float32)
    cylinder = (y / 80) ** 2 + (x / 120) ** 2 + 0 * z
    hu[np.broadcast_to(cylinder <= 1, grid.shape)] = TISSUE
    for side in (-1, 1):
        hu[ellipsoid(grid, (0, 0, side * 55), (55, 50, 38))] = LUNG
    hu[np.broadcast_to(((y + 20) ** 2 + x**2 <= 8**2) & (z > -20), grid.shape)] = AIR
    hu[np.broadcast_to(((y - 60) ** 2 + x**2 <= 14**2) & (z < 999), grid.shape)] = BONE
    board = (y > 88) & (y < 92) & (np.abs(x) < 130) & (z < 999)
    hu[np.broadcast_to(board, grid.shape)] = TABLE
    for nodule in nodules:
        hu[ellipsoid(grid, nodule.centre, (nodule.radius,) * 3)] = nodule.hu
    return hu


def heat(grid: Grid, nodules: Sequence[Nodule]) -> Array:
    """Return a heatmap that passes through half of its height at each nodule's surface."""
    z, y, x = axes(grid)
    found = np.zeros(grid.shape, np.float32)
    for nodule in nodules:
        cz, cy, cx = nodule.centre
        gap = np.sqrt((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) - nodule.radius
        # 0.5 at the surface, whatever the height in the middle
        steep = np.log(nodule.heat / (1 - nodule.heat)) / nodule.radius
        found = np.maximum(found, 1 / (1 + np.exp(np.clip(gap * steep, -30, 30))))
    return found.astype(np.float32)
