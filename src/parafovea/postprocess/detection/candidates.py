"""Candidates: peaks of a heatmap, each with its region."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree
from skimage.segmentation import watershed

from parafovea.geometry.grid import Box, Grid, Vector, shape3, vector3
from parafovea.geometry.sphere import equivalent_diameter
from parafovea.postprocess.basins import merged_basins
from parafovea.postprocess.detection.peaks import Peaks, find_peaks
from parafovea.postprocess.detection.voxel_runs import Runs, measure_extents
from parafovea.postprocess.segmentation.components import ReadSlab
from parafovea.settings.postprocess import PeakSettings
from parafovea.storage.blocks import SLAB_PLANES

Array = np.ndarray[Any, Any]

#: Maximum bounding box, in voxels, that is divided by watershed; larger ones are divided by
#: distance, which takes less memory and time, and their peaks are not merged.
LARGEST_FLOOD = 2**24

#: Weights of a centre of mass are integers of this scale, so the order of the sum does not matter.
_WEIGHTS = 2**16


@dataclass(frozen=True)
class Candidate:
    """A peak of a heatmap and its region.

    Parameters
    ----------
    confidence : float
        Height of the peak.
    centre : tuple of float
        Centre of mass of the region along z, y, x, weighted by the heatmap, in its voxels.
    voxels : int
        Number of voxels of the region.
    box : Box
        Bounding box of the region in the heatmap.
    mask : (z, y, x) bool
        The region within `box`.
    level : float
        Value of the heatmap at the border of the region.
    """

    confidence: float
    centre: Vector
    voxels: int
    box: Box
    mask: Array
    level: float

    def volume(self, grid: Grid) -> float:
        """Return the volume of the region in the cubic unit of the heatmap's grid."""
        return self.voxels * grid.voxel_volume

    def diameter(self, grid: Grid) -> float:
        """Return the diameter of a sphere with the region's volume, in the grid's unit."""
        return equivalent_diameter(self.volume(grid))


def find_candidates(
    read: ReadSlab, grid: Grid, settings: PeakSettings, *, planes: int = SLAB_PLANES
) -> list[Candidate]:
    """Find the peaks of a heatmap and the region of each.

    A region is a component (over faces, edges and corners) of the voxels at or above the
    threshold. A component with several peaks is divided between them by watershed; then peaks
    without a valley between them are merged, see `merged_basins`. A component without a peak,
    since a higher peak of another component is closer than the minimum distance, is dropped.

    Of each region only the voxels at or above half of its peak are kept: there the surface of a
    finding lies in the heatmaps that detectors learn (`training.heatmap_truth.heatmap`), however
    sure they are, so that sizes do not depend on a threshold below that.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) floating-point values of a box of the heatmap, in [0, 1].
    grid : Grid
        Grid of the heatmap; `settings.min_distance` is in its unit.
    settings : PeakSettings
        Threshold, distance, method and saddle. The method `nms`, which finds shoulders as peaks on
        purpose, merges none.
    planes : int
        Planes that are read at a time; the candidates do not depend on it.

    Returns
    -------
    list of Candidate
        By descending height; ties in z, y, x order of their peaks. One slab and the bounding box of
        one component are in memory at a time.

    Raises
    ------
    MemoryLimitError, VoxelError
        See `find_peaks`.
    """
    peaks = find_peaks(
        read,
        grid,
        threshold=settings.threshold,
        min_distance=settings.min_distance,
        method=settings.method,
        planes=planes,
    )
    found: dict[int, Candidate] = {}
    for members, box, runs in _components(peaks):
        values = np.asarray(read(box))
        inside = _cropped_mask(runs, box)
        if len(members) == 1:
            found[members[0]] = _candidate(peaks, members[0], values, inside, box, settings)
            continue
        labels = _divided(values, inside, peaks, members, box, grid.spacing)
        joined = np.arange(len(members))
        if settings.method == "local_maxima" and box.size <= LARGEST_FLOOD:
            heights = peaks.value[members]
            joined = merged_basins(values, labels, heights, max_saddle=settings.max_saddle)
        # 0 is outside
        labels = np.append(0, joined + 1)[labels]
        for first in np.unique(joined).tolist():
            found[members[first]] = _candidate(
                peaks, members[first], values, labels == first + 1, box, settings
            )
    return [found[rank] for rank in sorted(found)]


def _components(peaks: Peaks) -> Iterator[tuple[list[int], Box, Runs]]:
    """Yield the peaks, the bounding box and the runs of each component that has a peak."""
    runs = peaks.foreground
    component, count = runs.components()
    extents = measure_extents(runs, component, count)
    order = np.argsort(component, kind="stable")
    bounds = np.searchsorted(component[order], np.arange(count + 1))
    members: dict[int, list[int]] = {}
    for peak, owner in enumerate(component[runs.containing(peaks.position)].tolist()):
        members.setdefault(owner, []).append(peak)
    for owner in sorted(members):
        box = Box(shape3(extents.start[owner]), shape3(extents.stop[owner]))
        yield members[owner], box, runs.take(order[bounds[owner] : bounds[owner + 1]])


def _cropped_mask(runs: Runs, box: Box) -> Array:
    """Return runs of a volume as the mask (z, y, x) of a box that contains them."""
    z, y = np.divmod(runs.row, runs.shape[1])
    row = (z - box.start[0]) * box.shape[1] + y - box.start[1]
    start = box.start[2]
    local = Runs(box.shape, row, runs.start - start, runs.stop - start)
    mask = np.zeros(box.size, bool)
    mask[local.positions()] = True
    return mask.reshape(box.shape)


def _divided(
    values: Array, inside: Array, peaks: Peaks, members: list[int], box: Box, spacing: Vector
) -> Array:
    """Return the peak that each voxel of a component belongs to: 1.. in order, 0 outside."""
    first = np.stack(np.unravel_index(peaks.position[members], peaks.foreground.shape), axis=1)
    place = first - np.array(box.start)
    if box.size > LARGEST_FLOOD:
        return _nearest(inside, place, spacing)
    markers = np.zeros(box.shape, np.int32)
    markers[tuple(place.T)] = np.arange(1, len(members) + 1)
    flooded = watershed(
        -values.astype(np.float32), markers, mask=inside, connectivity=np.ones((3, 3, 3))
    )
    return np.asarray(flooded)


def _nearest(inside: Array, place: Array, spacing: Vector) -> Array:
    scale = np.array(spacing)
    tree = KDTree(place * scale)
    labels = np.zeros(inside.shape, np.int32)
    for z in range(len(inside)):
        yx = np.argwhere(inside[z])
        points = np.insert(yx.astype(np.float64), 0, z, axis=1) * scale
        if len(points):
            labels[z][inside[z]] = tree.query(points)[1] + 1
    return labels


def _candidate(
    peaks: Peaks, peak: int, values: Array, mask: Array, box: Box, settings: PeakSettings
) -> Candidate:
    height = float(peaks.value[peak])
    level = max(settings.threshold, height / 2)
    mask = mask & (values >= level)
    tight = _bounds(mask)
    own, around = mask[tight.slices], tight.shifted(box.start)
    index = np.nonzero(own)
    weights = np.rint(values[tight.slices][own].astype(np.float64) * _WEIGHTS).astype(np.int64)
    total = int(weights.sum())
    centre = [
        a + int((i * weights).sum()) / total for a, i in zip(around.start, index, strict=True)
    ]
    return Candidate(
        height, vector3(centre), len(weights), around, np.ascontiguousarray(own), level
    )


def _bounds(mask: Array) -> Box:
    start, stop = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        used = np.flatnonzero(mask.any(axis=others))
        start.append(int(used[0]))
        stop.append(int(used[-1]) + 1)
    return Box(shape3(start), shape3(stop))
