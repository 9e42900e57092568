"""Triangle meshes of a scan's surfaces in patient coordinates, small enough for a browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.geometry.scan_space import ScanSpace
from parafovea.postprocess.detection.heatmap import Volume
from parafovea.postprocess.detection.peaks import scan_heatmap
from parafovea.postprocess.detection.voxel_runs import measure_extents
from parafovea.preprocess.coarse_view import CoarseArray, pooled

Array = np.ndarray[Any, Any]

#: Maximum number of triangles of a surface; the grid is coarsened until it is met.
MOST_TRIANGLES = 60_000

#: Maximum number of voxels of a part of the heatmap at full resolution.
_LARGEST_PART = 2**21


@dataclass(frozen=True)
class Surface:
    """A triangle mesh.

    Parameters
    ----------
    vertices : (n, 3) float32
        Positions along x, y, z in millimetres, LPS.
    faces : (m, 3) int32
        Vertex indices of each triangle.
    """

    vertices: Array
    faces: Array

    def __len__(self) -> int:
        """Return the number of triangles."""
        return len(self.faces)


def joined(parts: list[Surface]) -> Surface:
    """Return several surfaces as one."""
    starts = np.cumsum([0, *(len(p.vertices) for p in parts)])
    faces = [p.faces + start for p, start in zip(parts, starts[:-1], strict=True)]
    return Surface(
        np.concatenate([np.zeros((0, 3), np.float32), *(p.vertices for p in parts)]),
        np.concatenate([np.zeros((0, 3), np.int32), *faces]).astype(np.int32),
    )


def mask_surface(mask: CoarseArray, space: ScanSpace) -> Surface:
    """Return the smoothed surface of a mask.

    Parameters
    ----------
    mask : CoarseArray
        bool; closed at the scan's border.
    space : ScanSpace
        Mapping from the scan's voxels to patient coordinates.
    """
    part = CoarseArray(mask.values.astype(np.float32), mask.grid)
    while True:
        soft = gaussian_filter(np.pad(part.values, 2), 0.8)
        if soft.max() <= 0.5:
            return joined([])
        surface = _surface(soft, 0.5, part.grid.crop(part.grid.box.expanded((2, 2, 2))), space)
        if len(surface) <= MOST_TRIANGLES or min(part.values.shape) < 4:
            return surface
        part = pooled(part, 2)


def heatmap_surface(heatmap: Volume, threshold: float, space: ScanSpace) -> Surface:
    """Return an isosurface of a heatmap, the largest parts first.

    Parameters
    ----------
    heatmap : Volume
        Values in [0, 1], in the world of the scan's grid.
    threshold : float
        Value of the isosurface.
    space
        See `mask_surface`.

    Returns
    -------
    Surface
        A mesh of at most `MOST_TRIANGLES` plus those of one part.
    """
    runs = scan_heatmap(heatmap.read, heatmap.grid.shape, threshold).foreground
    component, count = runs.components()
    extents = measure_extents(runs, component, count)
    parts: list[Surface] = []
    for row in np.argsort(-extents.voxels, kind="stable").tolist():
        box = Box(shape3(extents.start[row]), shape3(extents.stop[row])).expanded((1, 1, 1))
        parts.append(_part(heatmap, box, threshold, space))
        if sum(map(len, parts)) > MOST_TRIANGLES:
            break
    return joined(parts)


def _part(heatmap: Volume, box: Box, threshold: float, space: ScanSpace) -> Surface:
    known = box.intersection(heatmap.grid.box)
    values = np.zeros(box.shape, np.float32)
    values[known.relative_to(box.start).slices] = heatmap.read(known)
    part = CoarseArray(values, heatmap.grid.crop(box))
    while part.values.size > _LARGEST_PART:
        part = pooled(part, 2)
    level = float(np.float32(threshold))
    if part.values.max() <= level:
        level = float(np.nextafter(part.values.max(), np.float32(0)))
    if level <= part.values.min():
        return joined([])
    return _surface(part.values, level, part.grid, space)


def _surface(values: Array, level: float, grid: Grid, space: ScanSpace) -> Surface:
    vertices, faces, _, _ = marching_cubes(values, level, allow_degenerate=False)
    placed = space.world_of_grid(vertices, grid).astype(np.float32)
    # Rounded to 0.1 mm, below the resolution of screens, for better compression.
    return Surface(np.round(placed, 1), faces.astype(np.int32))


def spheres(centres: Array, diameters: Array, *, around: int = 16, along: int = 9) -> Surface:
    """Return spheres of ``around * along`` vertices each, concatenated.

    Parameters
    ----------
    centres : (n, 3) float64
        Positions along x, y, z.
    diameters : (n,) float64
        Diameters in the same unit.
    around, along : int
        Number of vertices of a circle of latitude, and of a meridian.
    """
    polar, turn = np.linspace(0, np.pi, along), np.arange(around) * (2 * np.pi / around)
    sine = np.sin(polar)[:, None]
    unit = np.stack(
        [sine * np.cos(turn), sine * np.sin(turn), np.cos(polar)[:, None] + 0 * turn], axis=-1
    ).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(along - 1), np.arange(around), indexing="ij")
    here, right = row * around + column, row * around + (column + 1) % around
    low, high = (
        np.stack([here, right, here + around]),
        np.stack([right, right + around, here + around]),
    )
    faces = np.concatenate([low.reshape(3, -1).T, high.reshape(3, -1).T])
    return joined(
        [
            Surface((centre + unit * width / 2).astype(np.float32), faces.astype(np.int32))
            for centre, width in zip(centres, diameters, strict=True)
        ]
    )
