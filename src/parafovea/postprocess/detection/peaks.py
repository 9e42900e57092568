"""Detection of peaks with a minimum distance in a heatmap, in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from parafovea.errors import MemoryLimitError, VoxelError
from parafovea.geometry.grid import Box, Grid, Shape, Vector
from parafovea.postprocess.detection.voxel_runs import Runs, measure_extents
from parafovea.postprocess.segmentation.components import ReadSlab
from parafovea.settings.postprocess import PeakMethod
from parafovea.storage.blocks import SLAB_PLANES

Array = np.ndarray[Any, Any]

#: A maximum depends on the neighbours of a voxel, a plateau also on their neighbours.
_HALO = 2

#: Blended values may exceed 1 by rounding.
_HIGHEST = 1.001


@dataclass(frozen=True)
class Scan:
    """Foreground and local maxima of a heatmap.

    Parameters
    ----------
    foreground : Runs
        Voxels at or above the threshold.
    highest : Runs
        Voxels without a higher neighbour; a run has a single value.
    value : (n,) float64
        Value of each run of `highest`.
    rises : (n,) bool
        Whether a run of `highest` touches a voxel of equal value that has a higher neighbour: its
        plateau is then not a maximum.
    values : (voxels,) float32 or None
        Value of each voxel of `foreground`, if requested.
    """

    foreground: Runs
    highest: Runs
    value: Array
    rises: Array
    values: Array | None


def scan_heatmap(
    read: ReadSlab,
    shape: Shape,
    threshold: float,
    *,
    planes: int = SLAB_PLANES,
    keep_values: bool = False,
) -> Scan:
    """Find the voxels of a heatmap that reach a threshold, and those without higher neighbours.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) floating-point values of a slab, in [0, 1].
    shape : tuple of int
        Shape of the heatmap along z, y, x.
    threshold : float
        Minimum value of a foreground voxel; positive.
    planes : int
        Planes of a slab.
    keep_values : bool
        Keep the value of every foreground voxel, 4 bytes each.

    Raises
    ------
    VoxelError
        If a value is NaN or outside of [0, 1].
    """
    foreground, highest = [], []
    value, rises, kept = [np.zeros(0)], [np.zeros(0, bool)], [np.zeros(0, np.float32)]
    for first, padded in _padded_slabs(read, shape, planes):
        inner = padded.shape[0] - 2 * _HALO
        flat = padded.reshape(-1)
        area = padded.shape[1] * padded.shape[2]
        reached = _reached(padded[1 : inner + 3], threshold) + area
        own = reached[(reached >= _HALO * area) & (reached < (_HALO + inner) * area)]
        foreground.append(_runs(own, padded.shape, shape, first))
        if keep_values:
            kept.append(flat[own].astype(np.float32))
        top = _without_higher(flat, reached, padded.shape)
        mine = top[(top >= _HALO * area) & (top < (_HALO + inner) * area)]
        part = _runs(mine, padded.shape, shape, first)
        highest.append(part)
        if len(part):
            begins = np.concatenate([[0], np.cumsum(part.lengths)[:-1]])
            value.append(flat[mine[begins]].astype(np.float64))
            rising = _beside_slope(flat, mine, top, padded.shape)
            rises.append(np.logical_or.reduceat(rising, begins))
    return Scan(
        Runs.concatenated(shape, foreground),
        Runs.concatenated(shape, highest),
        np.concatenate(value),
        np.concatenate(rises),
        np.concatenate(kept) if keep_values else None,
    )


def _padded_slabs(read: ReadSlab, shape: Shape, planes: int) -> Iterator[tuple[int, Array]]:
    """Yield slabs with a margin of `_HALO` voxels, minus infinity outside, and their first plane.

    Each plane is read once: a slab lags behind reading by the halo. The array is reused.
    """
    depth, height, width = shape
    ahead, buffer = 2 * _HALO, np.zeros(0)
    for first in range(0, depth + _HALO, planes):
        last = min(first + planes, depth + _HALO)
        box = Box((first, 0, 0), (min(last, depth), height, width))
        slab = np.asarray(read(box)) if box.size else np.zeros(box.shape)
        _check(slab, first)
        if not buffer.size:
            wide = (planes + ahead, height + ahead, width + ahead)
            buffer = np.full(wide, -np.inf, np.result_type(slab.dtype, np.float16))
        buffer[ahead:, _HALO:-_HALO, _HALO:-_HALO] = -np.inf if len(slab) < planes else 0
        buffer[ahead : ahead + len(slab), _HALO:-_HALO, _HALO:-_HALO] = slab
        yield first - _HALO, buffer[: last - first + ahead]
        buffer[:ahead] = buffer[last - first : last - first + ahead].copy()


def _check(slab: Array, first: int) -> None:
    if not slab.size:
        return
    if not np.issubdtype(slab.dtype, np.floating):
        raise VoxelError(
            f"the heatmap has dtype {slab.dtype}: it must be floating point with values from 0 to 1"
        )
    if slab.dtype == np.float16:
        # The bits of positive float16 values sort like the values; numpy compares them much faster.
        bits = slab.view(np.int16)
        if bits.min() >= 0 and bits.max() <= _ONE_HALF:
            return
    low, high = slab.min(), slab.max()
    if not (low >= 1 - _HIGHEST and high <= _HIGHEST):
        raise VoxelError(
            f"planes {first} to {first + len(slab) - 1} of the heatmap have values from {low:g} to "
            f"{high:g}: they must be probabilities from 0 to 1, without NaN"
        )


_ONE_HALF = int(np.float16(1).view(np.int16))


def _reached(values: Array, threshold: float) -> Array:
    """Return the flat indices of values at or above the threshold."""
    if values.dtype != np.float16:
        return np.flatnonzero(values >= threshold)
    least = np.float16(threshold)
    if float(least) < threshold:
        least = np.nextafter(least, np.float16(np.inf))
    return np.flatnonzero(values.view(np.int16) >= least.view(np.int16))


def _offsets(padded: Shape) -> list[int]:
    """Return the flat index offsets of the 26 neighbours, face neighbours first."""
    steps = [s for s in itertools.product((-1, 0, 1), repeat=3) if any(s)]
    steps.sort(key=lambda s: sum(map(abs, s)))
    return [(dz * padded[1] + dy) * padded[2] + dx for dz, dy, dx in steps]


def _without_higher(flat: Array, index: Array, padded: Shape) -> Array:
    own = flat[index]
    for offset in _offsets(padded):
        keep = flat[index + offset] <= own
        index, own = index[keep], own[keep]
    return index


def _beside_slope(flat: Array, mine: Array, highest: Array, padded: Shape) -> Array:
    """Return which voxels touch a voxel of equal value that is not among the highest."""
    own = flat[mine]
    found = np.zeros(len(mine), bool)
    for offset in _offsets(padded):
        near = mine + offset
        equal = np.flatnonzero(flat[near] == own)
        place = np.minimum(np.searchsorted(highest, near[equal]), len(highest) - 1)
        found[equal] |= highest[place] != near[equal]
    return found


def _runs(index: Array, padded: Shape, shape: Shape, first: int) -> Runs:
    """Return the runs of flat indices into a padded slab whose first plane is `first`."""
    rest, x = np.divmod(index, padded[2])
    z, y = np.divmod(rest, padded[1])
    row = (z - _HALO + first) * shape[1] + y - _HALO
    return Runs.from_positions(shape, row * shape[2] + x - _HALO)


#: Maximum number of foreground voxels that the method `nms` sorts; they take about 2 GB.
LARGEST_SORT = 2**26

#: Relative tolerance of distances.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Peaks:
    """Peaks of a heatmap by descending height; ties in z, y, x order.

    Parameters
    ----------
    position : (n,) int64
        Flat index of the first voxel of each peak.
    index : (n, 3) float64
        Voxel index along z, y, x; the centre of a plateau.
    value : (n,) float64
        Height of each peak.
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
    planes: int = SLAB_PLANES,
) -> Peaks:
    """Find the peaks of a heatmap with a minimum distance.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) floating-point values of a slab, in [0, 1].
    grid : Grid
        Grid of the heatmap; its spacing may be anisotropic.
    threshold : float
        Minimum height; positive.
    min_distance : float
        Minimum distance in the grid's unit. Of two closer peaks only the higher one is kept, or
        the first in scan order if they are equal.
    method : {"local_maxima", "nms"}
        local_maxima: voxels without a higher neighbour (over faces, edges and corners); equal
        neighbours form one peak. nms: the highest voxel, then the highest one outside of its
        distance, and so on, which includes the shoulders of a large region.
    planes : int
        Planes of a slab; the peaks do not depend on it.

    Returns
    -------
    Peaks
        The peaks and the foreground.

    Raises
    ------
    MemoryLimitError
        If more than `LARGEST_SORT` voxels would have to be sorted (`nms` only).
    VoxelError
        If a value is NaN or outside of [0, 1].
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
    """Return which points have a minimum distance from all earlier chosen ones: (n,) bool."""
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
            f"{voxels} voxels of the heatmap reach the threshold, but method nms can sort at most "
            f"{LARGEST_SORT}: raise the threshold, or use method local_maxima"
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
    """Return the rows of a ball around a voxel: (rows, 3) offsets in z, y and half-width in x."""
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
