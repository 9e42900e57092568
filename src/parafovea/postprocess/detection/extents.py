"""Extents of candidates: what each takes of its scan, by the density of the scan's own voxels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from parafovea.geometry.grid import Box, Grid, Vector, shape3
from parafovea.geometry.resample import resample_box
from parafovea.geometry.sphere import equivalent_diameter
from parafovea.postprocess.detection.candidates import Candidate
from parafovea.postprocess.detection.tissue import inner_voxels, nodule_tissue
from parafovea.postprocess.segmentation.components import ReadSlab, slabs

Array = np.ndarray[Any, Any]

#: How far a nodule may reach beyond its region in the heatmap: millimetres, and as a share of the
#: region's diameter. One of six rules compared on phantoms, see docs/nodules.md.
REACH, GROWTH = 1.0, 0.2

#: Rounding errors of places, in voxels or millimetres, and the half of a voxel but for them.
_ROUNDING = 1e-4
_HALF = 0.5 - _ROUNDING


@dataclass(frozen=True)
class Extent:
    """What a nodule takes of its scan.

    Parameters
    ----------
    box : Box
        Voxels of the scan.
    share : (z, y, x) float32
        Share of each of them that is nodule, in [0, 1].
    mean, deviation : float
        Mean and standard deviation of the nodule in HU; of its inner voxels where it has some.
    """

    box: Box
    share: Array
    mean: float
    deviation: float

    @property
    def mask(self) -> Array:
        """The voxels (z, y, x) bool that are nodule by half of the largest share or more."""
        return np.asarray(self.share >= 0.5 * self.share.max())

    def volume(self, scan: Grid) -> float:
        """Return the volume in the cubic unit of a scan's grid."""
        return float(self.share.sum(dtype=np.float64)) * scan.voxel_volume

    def diameter(self, scan: Grid) -> float:
        """Return the diameter of a sphere of the same volume, in the unit of a scan's grid."""
        return equivalent_diameter(self.volume(scan))


def measure_extents(
    candidates: Sequence[Candidate], heatmap: Grid, read: ReadSlab, scan: Grid
) -> list[Extent]:
    """Measure what candidates take of the scan's own voxels.

    A heatmap is coarser than its scan and smooth: its regions say where a nodule is, and the scan
    how far it reaches, see `nodule_tissue`. A nodule reaches beyond its region by at most `REACH`
    and the share `GROWTH` of its diameter, or half of the scan's largest voxel if that is more, and
    nowhere nearer to the region of another candidate. Where there is no lung around a region, it is
    taken as it is.

    Parameters
    ----------
    candidates : sequence of Candidate
        Candidates in the heatmap.
    heatmap : Grid
        Grid of the heatmap, in millimetres.
    read : callable
        Returns the (z, y, x) values of a box of the scan, in HU.
    scan : Grid
        Grid of the scan, in the world of the heatmap.

    Returns
    -------
    list of Extent
        In the order of the candidates. Each slab of the scan is read at most once; the voxels
        around a candidate are held until its last slab has been read.
    """
    own = scan.converted(heatmap.unit)
    near = _Neighbours(candidates)
    places = [_placed(each, near, heatmap, own) for each in candidates]
    found: dict[int, Extent] = {}
    for row, values in _boxes([place.box for place in places], read, scan):
        found[row] = _measured(values, places[row], candidates[row].volume(heatmap), own)
    return [found[row] for row in range(len(candidates))]


def region_planes(extents: Sequence[Extent], shape: Sequence[int]) -> dict[int, NDArray[np.uint16]]:
    """Return which extent each voxel of a scan belongs to.

    Parameters
    ----------
    extents : sequence of Extent
        At most 65535. A voxel of several belongs to the first of them.
    shape : sequence of int
        Shape (z, y, x) of the scan.

    Returns
    -------
    dict of int to ndarray
        (y, x) uint16 by the index of the plane: number of the extent from 1, 0 outside. Planes
        without one are left out.
    """
    found: dict[int, NDArray[np.uint16]] = {}
    for number, extent in enumerate(extents, start=1):
        z, y, x = extent.box.slices
        for k, inside in zip(range(z.start, z.stop), extent.mask, strict=True):
            if inside.any():
                plane = found.setdefault(k, np.zeros(tuple(shape[1:]), np.uint16))
                part = plane[y, x]
                part[inside & (part == 0)] = number
    return found


@dataclass(frozen=True)
class _Place:
    """Voxels of a scan around a candidate.

    Parameters
    ----------
    box : Box
        The voxels.
    inside : (z, y, x) float32
        How much of each lies in the region of the heatmap, in [0, 1]; 0 everywhere if the voxels
        are larger than the region.
    around : (z, y, x) bool
        How far the nodule may reach.
    """

    box: Box
    inside: Array
    around: Array


class _Neighbours:
    """The candidates by the boxes of their regions."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._start = np.array([each.box.start for each in candidates])
        self._stop = np.array([each.box.stop for each in candidates])

    def within(self, box: Box) -> list[Candidate]:
        """Return the candidates whose boxes meet a box."""
        meet = ((self._start < box.stop) & (self._stop > box.start)).all(axis=1)
        return [self._candidates[row] for row in np.flatnonzero(meet).tolist()]


def _placed(candidate: Candidate, near: _Neighbours, heatmap: Grid, scan: Grid) -> _Place:
    reach = max(REACH + GROWTH * candidate.diameter(heatmap), max(scan.spacing) / 2)
    wide = candidate.box.expanded(shape3([math.ceil(reach / s) + 1 for s in heatmap.spacing]))
    region, others = np.zeros(wide.shape, bool), np.zeros(wide.shape, bool)
    for each in near.within(wide):
        both = each.box.intersection(wide)
        part = each.mask[both.relative_to(each.box.start).slices]
        (region if each is candidate else others)[both.relative_to(wide.start).slices] |= part
    far = distance_transform_edt(~region, sampling=heatmap.spacing)
    reached = far <= reach + _ROUNDING
    if others.any():
        theirs = distance_transform_edt(~others, sampling=heatmap.spacing)
        reached &= far <= theirs + _ROUNDING
    box = _voxels_within(wide, heatmap, scan)
    source = heatmap.crop(wide)
    inside = _interpolated(region, source, scan, box)
    if not (inside >= _HALF).any():
        box = _nearest_voxels(scan, scan.index(heatmap.world(candidate.centre)))
        return _Place(box, np.zeros(box.shape, np.float32), np.ones(box.shape, bool))
    return _Place(box, inside, _interpolated(reached, source, scan, box) >= _HALF)


def _voxels_within(box: Box, grid: Grid, scan: Grid) -> Box:
    """Return the voxels of a scan whose centres lie between those of a box of another grid."""
    low = scan.index(grid.world(box.start))
    high = scan.index(grid.world([stop - 1 for stop in box.stop]))
    start = [math.ceil(v - _ROUNDING) for v in low]
    stop = [math.floor(v + _ROUNDING) + 1 for v in high]
    return Box(shape3(start), shape3(stop)).intersection(scan.box)


def _interpolated(mask: Array, source: Grid, scan: Grid, box: Box) -> Array:
    """Return a mask, float32, at the voxels of a box of a scan, linearly between its own."""
    if not box.size:
        return np.zeros(box.shape, np.float32)
    values = mask.astype(np.float32)
    return resample_box(lambda part: values[part.slices], source, scan, box, antialias=False)


def _measured(values: Array, place: _Place, volume: float, scan: Grid) -> Extent:
    region = place.inside >= _HALF
    found = nodule_tissue(values, region, place.around | region) if region.any() else None
    if found is not None:
        share, mask = found.share, inner_voxels(found.mask, scan.spacing)
    else:
        share, mask = (place.inside, region) if region.any() else _whole(values.shape)
        taken = float(share.sum(dtype=np.float64)) * scan.voxel_volume
        if volume < taken:
            # few voxels of the scan, or one that is larger than the region
            share = share * np.float32(volume / taken)
    chosen = values[mask].astype(np.float64)
    box = _used(share)
    return Extent(
        Box.sized(
            [a + b for a, b in zip(place.box.start, box.start, strict=True)], shape3(box.shape)
        ),
        np.ascontiguousarray(share[box.slices]),
        float(chosen.mean()),
        float(chosen.std()),
    )


def _whole(shape: Sequence[int]) -> tuple[Array, Array]:
    """Return share and mask of voxels that are taken as a whole."""
    return np.ones(tuple(shape), np.float32), np.ones(tuple(shape), bool)


def _used(share: Array) -> Box:
    """Return the bounding box of the voxels above 0."""
    places = np.nonzero(share)
    return Box(
        shape3([int(axis.min()) for axis in places]),
        shape3([int(axis.max()) + 1 for axis in places]),
    )


def _boxes(boxes: Sequence[Box], read: ReadSlab, scan: Grid) -> Iterator[tuple[int, Array]]:
    """Yield number and values of boxes, each once the last slab that it needs has been read."""
    held: dict[int, Array] = {}
    for slab in slabs(scan.shape):
        parts = [(row, box.intersection(slab)) for row, box in enumerate(boxes)]
        parts = [(row, part) for row, part in parts if part.size]
        if not parts:
            continue
        around = parts[0][1]
        for _, part in parts:
            around = around.union(part)
        values = np.asarray(read(around))
        for row, part in parts:
            box = boxes[row]
            if row not in held:
                held[row] = np.zeros(box.shape, values.dtype)
            own = values[part.relative_to(around.start).slices]
            held[row][part.relative_to(box.start).slices] = own
            if part.stop[0] == box.stop[0]:
                yield row, held.pop(row)


def _nearest_voxels(grid: Grid, index: Vector) -> Box:
    """Return the voxel nearest to a place, or all that are equally near."""
    low, high = [], []
    for place, length in zip(index, grid.shape, strict=True):
        low.append(min(max(math.ceil(place - 0.5 - _ROUNDING), 0), length - 1))
        high.append(min(max(math.floor(place + 0.5 + _ROUNDING), 0), length - 1) + 1)
    return Box(shape3(low), shape3(high))
