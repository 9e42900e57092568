"""Peaks of a heatmap that keep a distance from each other, in the unit of the spacing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from parafovea.errors import MemoryLimitError
from parafovea.grid import Grid, Vector
from parafovea.postprocess.components import PLANES, ReadSlab
from parafovea.postprocess.heatmap import Scan, scan_heatmap
from parafovea.postprocess.settings import PeakMethod
from parafovea.postprocess.voxel_runs import Runs, measure_extents

Array = np.ndarray[Any, Any]

#: Voxels over the threshold that the method `nms` sorts; they take about 2 GB.
LARGEST_SORT = 2**26

#: Distances that differ by less are equal.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Peaks:
    """Peaks of a heatmap, the highest first; equal ones in z, y, x order.

    Parameters
    ----------
    position : (n,) int64
        First voxel of each peak, in scan order.
    index : (n, 3) float64
        Voxel along z, y, x; of a plateau its centre.
    value : (n,) float64
        Height.
    foreground : Runs
        Voxels at or above the threshold.
    """

    position: Array
    index: Array
    value: Array
    foreground: Runs

    def __len__(self) -> int:
        """Return the number of peaks."""
        return len(self.position)


def find_peaks(
    read: ReadSlab,
    grid: Grid,
    *,
    threshold: float,
    min_distance: float,
    method: PeakMethod = "local_maxima",
    planes: int = PLANES,
) -> Peaks:
    """Find the peaks of a heatmap that are at least a distance apart.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) floating-point values of a slab, in [0, 1].
    grid : Grid
        Of the heatmap; its spacing may differ along the axes.
    threshold : float
        Least height; positive.
    min_distance : float
        In the grid's unit. Of two peaks nearer to each other only the higher stays, or the first
        in scan order of two equal ones.
    method : {"local_maxima", "nms"}
        local_maxima: voxels without a higher neighbour (over faces, edges and corners); equal
        neighbours make one peak. nms: the highest voxel, then the highest that is not near to
        it, and so on: the shoulders of a large region count, too.
    planes : int
        Planes of a slab; the peaks do not depend on it.

    Returns
    -------
    Peaks
        With what lies above the threshold.

    Raises
    ------
    MemoryLimitError
        If more than `LARGEST_SORT` voxels would have to be sorted (`nms` only).
    VoxelError
        If a value is not a number in [0, 1].
    """
    scan = scan_heatmap(read, grid.shape, threshold, planes=planes, keep_values=method == "nms")
    if method == "nms":
        return _suppressed(scan, grid.spacing, min_distance)
    component, count = scan.highest.components()
    rises = np.zeros(count, bool)
    np.logical_or.at(rises, component, scan.rises)
    first_run = np.full(count, len(component))
    np.minimum.at(first_run, component, np.arange(len(component)))
    index = measure_extents(scan.highest, component, count).centroid
    value, position = scan.value[first_run], scan.highest.first[first_run]
    order = np.lexsort((position, -value))
    order = order[~rises[order]]
    apart = _apart(index[order] * np.array(grid.spacing), min_distance)
    order = order[apart]
    return Peaks(position[order], index[order], value[order], scan.foreground)


def _apart(points: Array, distance: float) -> Array:
    """Return which points are at least a distance from all chosen ones before them: (n,) bool."""
    chosen = np.zeros(len(points), bool)
    if not len(points):
        return chosen
    tree, free = KDTree(points), np.ones(len(points), bool)
    for row in range(len(points)):
        if free[row]:
            chosen[row] = True
            near = np.asarray(tree.query_ball_point(points[row], distance), np.int64)
            gaps = np.linalg.norm(points[near] - points[row], axis=1)
            free[near[gaps < distance * (1 - _TOLERANCE)]] = False
    return chosen


def _suppressed(scan: Scan, spacing: Vector, distance: float) -> Peaks:
    runs, values = scan.foreground, scan.values
    voxels = int(runs.lengths.sum())
    if values is None or voxels > LARGEST_SORT:
        raise MemoryLimitError(
            f"{voxels} voxels of the heatmap reach the threshold, and only {LARGEST_SORT} can be "
            "sorted for the method nms: raise the threshold, or use the method local_maxima"
        )
    positions = runs.positions()
    order = np.argsort(-values, kind="stable")
    free = np.ones(voxels, bool)
    ball = _ball_rows(spacing, distance)
    chosen, place = [], 0
    while (step := _next_free(free, order, place)) is not None:
        place = step
        chosen.append(int(order[place]))
        _clear_ball(free, positions, int(positions[chosen[-1]]), runs.shape, ball)
        place += 1
    picked = np.array(chosen, np.int64)
    index = np.stack(np.unravel_index(positions[picked], runs.shape), axis=1).astype(np.float64)
    return Peaks(positions[picked], index, values[picked].astype(np.float64), runs)


def _next_free(free: Array, order: Array, place: int, chunk: int = 4096) -> int | None:
    while place < len(order):
        part = free[order[place : place + chunk]]
        if part.any():
            return place + int(part.argmax())
        place += chunk
    return None


def _ball_rows(spacing: Vector, distance: float) -> Array:
    """Return the rows of a ball around a voxel: (rows, 3) offsets in z, y and the reach in x."""
    reach = distance * (1 - _TOLERANCE)
    dz, dy = (np.arange(-int(reach / s), int(reach / s) + 1) for s in spacing[:2])
    z, y = (a.ravel() for a in np.meshgrid(dz, dy, indexing="ij"))
    rest = reach**2 - (z * spacing[0]) ** 2 - (y * spacing[1]) ** 2
    inside = rest >= 0
    half = np.floor(np.sqrt(rest[inside]) / spacing[2])
    return np.stack([z[inside], y[inside], half], axis=1).astype(np.int64)


def _clear_ball(
    free: Array, positions: Array, centre: int, shape: tuple[int, int, int], ball: Array
) -> None:
    """Mark the voxels of a ball as taken; `positions` is ascending."""
    row, x = divmod(centre, shape[2])
    z, y = row // shape[1] + ball[:, 0], row % shape[1] + ball[:, 1]
    inside = (z >= 0) & (z < shape[0]) & (y >= 0) & (y < shape[1])
    begin = (z[inside] * shape[1] + y[inside]) * shape[2]
    low = np.searchsorted(positions, begin + np.maximum(x - ball[inside, 2], 0), "left")
    last = begin + np.minimum(x + ball[inside, 2], shape[2] - 1)
    high = np.searchsorted(positions, last, "right")
    for first, end in zip(low.tolist(), high.tolist(), strict=True):
        free[first:end] = False
