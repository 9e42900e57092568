"""Regions of candidates on the voxels of their scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.geometry.resample import resample_box
from parafovea.postprocess.detection.candidates import Candidate
from parafovea.postprocess.detection.heatmap import Volume

Array = np.ndarray[Any, Any]


def scan_regions(
    candidates: Sequence[Candidate], heatmap: Volume, scan: Grid, *, threshold: float
) -> dict[int, NDArray[np.uint16]]:
    """Return the voxels of a scan that belong to each candidate.

    These are the voxels in which the heatmap, interpolated as in its file on the scan's grid, is at
    or above the candidate's level. Each belongs to the region that most of its value comes from,
    which may be none of the candidates' where one was filtered. A region that is too small for that
    has the voxel at its centre, unless another has it.

    Parameters
    ----------
    candidates : sequence of Candidate
        Candidates in the heatmap, at most 65535.
    heatmap : Volume
        The heatmap; its grid is in the world of the scan's grid.
    scan : Grid
        Grid of the scan.
    threshold : float
        Threshold of the candidates' detection.

    Returns
    -------
    dict of int to ndarray
        (y, x) uint16 by the index of the plane: number of the candidate from 1, 0 outside. Planes
        without a region are left out.
    """
    target = scan.converted(heatmap.grid.unit)
    found: dict[int, NDArray[np.uint16]] = {}
    owners = _Owners(candidates, heatmap, threshold)
    for number, candidate in enumerate(candidates, start=1):
        box = _around(candidate.box, heatmap.grid, target)
        own = _own_voxels(owners, number, box, target)
        if not own.any():
            centre = _nearest(target, heatmap.grid.world(candidate.centre))
            box, own = Box.sized(centre, (1, 1, 1)), np.ones((1, 1, 1), bool)
        z, y, x = box.slices
        for k, inside in zip(range(z.start, z.stop), own, strict=True):
            if inside.any():
                plane = found.setdefault(k, np.zeros(target.shape[1:], np.uint16))
                part = plane[y, x]
                part[inside & (part == 0)] = number
    return found


class _Owners:
    """The candidate that each voxel of a heatmap belongs to."""

    def __init__(self, candidates: Sequence[Candidate], heatmap: Volume, threshold: float) -> None:
        self._candidates = candidates
        self._threshold = threshold
        self.heatmap = heatmap

    def of(self, box: Box) -> Array:
        """Return the number of each voxel's candidate; one more than there are for another one."""
        values = np.asarray(self.heatmap.read(box))
        found = np.where(values >= self._threshold, len(self._candidates) + 1, 0)
        for number, candidate in enumerate(self._candidates, start=1):
            both = candidate.box.intersection(box)
            if both.size:
                mask = candidate.mask[both.relative_to(candidate.box.start).slices]
                found[both.relative_to(box.start).slices][mask] = number
        return found

    def share(self, number: int, box: Box, target: Grid) -> Array:
        """Return how much of the values in a box of another grid comes from one candidate."""

        def read(part: Box) -> Array:
            values = np.asarray(self.heatmap.read(part), np.float32)
            return np.where(self.of(part) == number, values, np.float32(0))

        return resample_box(read, self.heatmap.grid, target, box, antialias=False)

    def inside(self, number: int, box: Box, target: Grid) -> Array:
        """Return where the values in a box of another grid are at or above a candidate's level."""
        values = resample_box(self.heatmap.read, self.heatmap.grid, target, box, antialias=False)
        return np.asarray(np.clip(values, 0, 1) >= self._candidates[number - 1].level)


def _own_voxels(owners: _Owners, number: int, box: Box, target: Grid) -> Array:
    """Return the voxels (z, y, x) bool of a box that belong to a candidate."""
    own = owners.inside(number, box, target)
    if not own.any():
        return own
    share = owners.share(number, box, target)
    own &= share > 0
    near = _around(box, target, owners.heatmap.grid)
    for other in np.unique(owners.of(near)).tolist():
        if other not in (0, number):
            theirs = owners.share(other, box, target)
            own &= (share >= theirs) if number < other else (share > theirs)
    return own


def _around(box: Box, grid: Grid, target: Grid) -> Box:
    """Return the voxels of another grid in a box and within one of its voxels around it."""
    low = target.index(grid.world([v - 1 for v in box.start]))
    high = target.index(grid.world(box.stop))
    wide = Box(shape3([math.floor(v) for v in low]), shape3([math.ceil(v) + 1 for v in high]))
    near = wide.intersection(target.box)
    return near if near.size else Box.sized(_nearest(target, grid.world(box.start)), (1, 1, 1))


def _nearest(grid: Grid, position: Sequence[float]) -> tuple[int, int, int]:
    """Return the voxel of a grid nearest to a position in its world."""
    index = zip(grid.index(position), grid.shape, strict=True)
    return shape3([min(n - 1, max(0, math.floor(v + 0.5))) for v, n in index])
