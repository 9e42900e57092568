"""Properties of candidates: shape in the heatmap, density in the scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    binary_propagation,
    generate_binary_structure,
)
from scipy.spatial.distance import pdist
from skimage.measure import find_contours, marching_cubes, mesh_surface_area

from parafovea.geometry.grid import Box, Grid, Vector, shape3
from parafovea.postprocess.detection.candidates import Candidate
from parafovea.postprocess.segmentation.components import ReadSlab, slabs

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """The shape of a candidate's region.

    Parameters
    ----------
    sphericity : float
        Surface area of a sphere of the same volume over that of the region; 1 for a sphere.
    axial_diameter : float
        Longest diameter in an axial plane, in the grid's unit.
    """

    sphericity: float
    axial_diameter: float


@dataclass(frozen=True, slots=True)
class Density:
    """Mean and standard deviation of the scan inside of a candidate, in HU."""

    mean: float
    deviation: float


def measure_form(candidate: Candidate, read: ReadSlab, grid: Grid, *, axial: int = 0) -> Form:
    """Measure the isosurface of the heatmap at the level of a candidate around its region.

    Parameters
    ----------
    candidate : Candidate
        Candidate in the heatmap.
    read : callable
        Returns the (z, y, x) values of a box of the heatmap.
    grid : Grid
        Grid of the heatmap.
    axial : int
        Array axis along the patient's length.

    Returns
    -------
    Form
        Measurements of the marching cubes mesh (Lewiner 2003, as in scikit-image).

    Notes
    -----
    Sphericity is pi^(1/3) (6 V)^(2/3) / A (H. Wadell, J. Geol. 40, 1932; feature QCFX of the Image
    Biomarker Standardisation Initiative), with volume V and area A of the same mesh.
    """
    level = float(np.float32(candidate.level))
    field = _field(candidate, read, grid, level)
    volume, area = _mesh(field, level, grid.spacing) if field.max() > level else (0.0, 0.0)
    if volume <= 0:
        # No value is above the level: use the outline of the voxels.
        field, level = (field >= level).astype(np.float32), 0.5
        volume, area = _mesh(field, level, grid.spacing)
    sphericity = math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
    return Form(min(sphericity, 1.0), _axial_diameter(field, level, grid.spacing, axial))


def _field(candidate: Candidate, read: ReadSlab, grid: Grid, threshold: float) -> Array:
    """Return the heatmap around a region, float32, with values below the threshold elsewhere."""
    wide = candidate.box.expanded((1, 1, 1))
    known = wide.intersection(grid.box)
    values = np.zeros(wide.shape, np.float32)
    values[known.relative_to(wide.start).slices] = read(known)
    own = np.zeros(wide.shape, bool)
    own[1:-1, 1:-1, 1:-1] = candidate.mask
    # Other regions are mirrored at the threshold, so that the border lies half way.
    return np.where(own | (values < threshold), values, 2 * threshold - values - 1e-6)


def _mesh(field: Array, level: float, spacing: Vector) -> tuple[float, float]:
    """Return volume and area of the surface at a level."""
    vertices, faces, _, _ = marching_cubes(field, level, spacing=spacing)
    corners = (vertices - vertices.mean(axis=0)).astype(np.float64)[faces]
    # Divergence theorem: tetrahedra between the triangles and one point.
    signed = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return abs(float(signed.sum())) / 6, float(mesh_surface_area(vertices, faces))


def _axial_diameter(field: Array, level: float, spacing: Vector, axial: int) -> float:
    across = np.array([s for axis, s in enumerate(spacing) if axis != axial])
    longest = 0.0
    for plane in np.moveaxis(field, axial, 0):
        if plane.max() < level:
            continue
        contours = [np.asarray(c) * across for c in find_contours(plane, level)]
        for points in contours:
            longest = max(longest, float(pdist(_extreme(points)).max(initial=0)))
    return longest


def _extreme(points: Array, directions: int = 180) -> Array:
    """Return the points of a plane that are extreme in one of many directions: its outline."""
    angles = np.arange(directions) * (np.pi / directions)
    along = points @ np.stack([np.cos(angles), np.sin(angles)])
    chosen = np.unique(np.concatenate([along.argmin(axis=0), along.argmax(axis=0)]))
    return np.asarray(points[chosen])


#: HU that values are cut to where lung is told from tissue: padding is air, and bone is tissue.
AIR, TISSUE = -1024.0, 200.0

#: HU below which what surrounds a nodule is lung.
LUNG = -500.0

#: HU by which a nodule is at least denser than the lung: less is noise.
CONTRAST = 150.0

#: Voxels within a nodule that are enough to leave out those at its border, which are partly lung.
INNER = 5


def measure_densities(
    candidates: Sequence[Candidate], heatmap: Grid, read: ReadSlab, scan: Grid
) -> list[Density]:
    """Measure the scan's own voxels inside of candidates.

    A voxel of the scan belongs to a region if the heatmap's voxel nearest to its centre does, or
    one of the nearest. If there is none, since the scan's voxels are larger, the ones nearest to
    the region's centre are used. Where a region reaches into the lung, only the tissue inside of
    it counts; see `tissue_mask`.

    Parameters
    ----------
    candidates : sequence of Candidate
        Candidates in the heatmap.
    heatmap : Grid
        Grid of the heatmap.
    read : callable
        Returns the (z, y, x) values of a box of the scan, in HU.
    scan : Grid
        Grid of the scan, in the world of the heatmap.

    Returns
    -------
    list of Density
        In the order of the candidates. Each slab of the scan is read at most once; the voxels of a
        region are held until its last slab has been read.
    """
    fine = scan.converted(heatmap.unit)
    places = [_placed(candidate, heatmap, fine) for candidate in candidates]
    found: dict[int, Density] = {}
    held: dict[int, Array] = {}
    for slab in slabs(scan.shape):
        parts = [(row, place.box.intersection(slab)) for row, place in enumerate(places)]
        parts = [(row, part) for row, part in parts if part.size]
        if not parts:
            continue
        around = parts[0][1]
        for _, part in parts:
            around = around.union(part)
        values = np.asarray(read(around))
        for row, part in parts:
            place = places[row]
            if row not in held:
                held[row] = np.zeros(place.box.shape, values.dtype)
            own = values[part.relative_to(around.start).slices]
            held[row][part.relative_to(place.box.start).slices] = own
            if part.stop[0] == place.box.stop[0]:
                inside = held.pop(row)
                mask = tissue_mask(inside, place.region, place.around, spacing=fine.spacing)
                chosen = inside[mask]
                chosen = chosen.astype(np.float64)
                found[row] = Density(float(chosen.mean()), float(chosen.std()))
    return [found[row] for row in range(len(candidates))]


def tissue_mask(values: Array, region: Array, around: Array, *, spacing: Vector) -> Array:
    """Return the part of a region that is a nodule and not the lung around it.

    A heatmap is coarser than the scan and smooth, so that its regions reach into the lung by a
    voxel, or lack one, whichever way the scan lies. The density of the scan has a sharp border:
    what is nearer to the tissue than to the lung (half of the difference of their medians) is
    nodule.

    Parameters
    ----------
    values : (z, y, x)
        HU.
    region : (z, y, x) bool
        Where the heatmap has the nodule; not empty.
    around : (z, y, x) bool
        The region and one voxel of the heatmap around it, as far as the nodule may reach.
    spacing : tuple of float
        Of the voxels, along z, y, x.

    Returns
    -------
    ndarray
        (z, y, x) bool, not empty: the tissue of the region with the tissue of the same density that
        adjoins it within `around`, without the voxels at its border if `INNER` others are left:
        first along all axes, else along all but that of the largest voxels. The region itself where
        no lung is near, or nothing but lung.
    """
    capped = np.clip(values, AIR, TISSUE).astype(np.float64)
    level = tissue_border(capped[around])
    if level is None:
        return region
    limit, upper = level
    dense = capped >= limit
    seed = region & dense
    if not seed.any():
        return region
    # a rib beside the nodule is denser by more than the nodule is denser than the border
    alike = around & dense & (values <= upper)
    nodule = np.asarray(binary_propagation(seed, mask=seed | alike))
    cross = generate_binary_structure(3, 1)
    flat = cross.copy()
    # the neighbours before and behind along the axis of the largest voxels
    np.moveaxis(flat, int(np.argmax(spacing)), 0)[[0, 2]] = False
    for structure in (cross, flat):
        inner = binary_erosion(nodule, structure)
        if np.count_nonzero(inner) >= INNER:
            return np.asarray(inner)
    return nodule


def tissue_border(values: Array) -> tuple[float, float] | None:
    """Return HU half way between lung and tissue, and as much above the tissue.

    None where the values are not of lung and tissue. The halves are found by iterated means, as in
    T. W. Ridler and S. Calvard, IEEE Trans. SMC 8, 1978, with medians, which partial voxels and the
    extent of the surroundings hardly change.
    """
    limit = float(values.min() + values.max()) / 2
    for _ in range(100):
        low, high = values[values < limit], values[values >= limit]
        if not len(low) or not len(high):
            return None
        lung, tissue = float(np.median(low)), float(np.median(high))
        before, limit = limit, (lung + tissue) / 2
        if abs(limit - before) < 0.5:
            break
    if lung > LUNG or tissue - lung < CONTRAST:
        return None
    return limit, tissue + (tissue - limit)


@dataclass(frozen=True)
class _Place:
    """Voxels of the scan around a candidate: a box, and within it the region and what adjoins."""

    box: Box
    region: Array
    around: Array


def _placed(candidate: Candidate, heatmap: Grid, scan: Grid) -> _Place:
    wide = candidate.box.expanded((1, 1, 1))
    padded = np.pad(candidate.mask, 1)
    own = binary_dilation(padded)
    start, indices = [], []
    for axis in range(3):
        low = heatmap.origin[axis] + (wide.start[axis] - 0.5) * heatmap.spacing[axis]
        high = heatmap.origin[axis] + (wide.stop[axis] - 0.5) * heatmap.spacing[axis]
        ends = ((edge - scan.origin[axis]) / scan.spacing[axis] for edge in (low, high))
        first, last = (math.floor(end) for end in ends)
        voxels = np.arange(max(0, first), min(scan.shape[axis], last + 2))
        world = scan.origin[axis] + voxels * scan.spacing[axis]
        there = (world - heatmap.origin[axis]) / heatmap.spacing[axis] - wide.start[axis]
        # both neighbours of a voxel half way between them, so that a flip changes nothing
        nearest = np.stack([np.ceil(there - 0.5 - _HALF), np.floor(there + 0.5 + _HALF)])
        keep = ((nearest >= 0) & (nearest < wide.shape[axis])).any(axis=0)
        start.append(int(voxels[keep][0]) if keep.any() else 0)
        indices.append(np.clip(nearest[:, keep], 0, wide.shape[axis] - 1).astype(np.int64))
    region = _sampled(padded, indices)
    if not region.any():
        box = _nearest_voxels(scan, scan.index(heatmap.world(candidate.centre)))
        return _Place(box, np.ones(box.shape, bool), np.ones(box.shape, bool))
    return _Place(Box.sized(start, shape3(region.shape)), region, _sampled(own, indices))


#: How near to half way a place counts as half way, in voxels.
_HALF = 1e-6


def _sampled(mask: Array, indices: Sequence[Array]) -> Array:
    """Return a mask at places that have a lower and an upper neighbour along each axis."""
    for axis, (lower, upper) in enumerate(indices):
        mask = np.take(mask, lower, axis) | np.take(mask, upper, axis)
    return mask


def _nearest_voxels(grid: Grid, index: Vector) -> Box:
    low, high = [], []
    for place, length in zip(index, grid.shape, strict=True):
        low.append(min(max(math.ceil(place - 0.5 - _HALF), 0), length - 1))
        high.append(min(max(math.floor(place + 0.5 + _HALF), 0), length - 1) + 1)
    return Box(shape3(low), shape3(high))
