"""Properties of candidates: shape in the heatmap, density in the scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
    """Mean and standard deviation of the scan in a candidate's region, in HU."""

    mean: float
    deviation: float


def measure_form(
    candidate: Candidate, read: ReadSlab, grid: Grid, *, threshold: float, axial: int = 0
) -> Form:
    """Measure the isosurface of the heatmap at the threshold around a candidate's region.

    Parameters
    ----------
    candidate : Candidate
        Candidate in the heatmap.
    read : callable
        Returns the (z, y, x) values of a box of the heatmap.
    grid : Grid
        Grid of the heatmap.
    threshold : float
        Threshold of the candidate's detection.
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
    level = float(np.float32(threshold))
    field = _field(candidate, read, grid, level)
    volume, area = _mesh(field, level, grid.spacing) if field.max() > level else (0.0, 0.0)
    if volume <= 0:
        # No value is above the threshold: use the outline of the voxels.
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


def measure_densities(
    candidates: Sequence[Candidate], heatmap: Grid, read: ReadSlab, scan: Grid
) -> list[Density]:
    """Measure the scan's own voxels in the regions of candidates.

    A voxel of the scan belongs to a region if the heatmap's voxel nearest to its centre does. If
    there is none, since the scan's voxels are larger, the one nearest to the region's centre is
    used.

    Parameters
    ----------
    candidates : sequence of Candidate
        Candidates in the heatmap.
    heatmap : Grid
        Grid of the heatmap.
    read : callable
        Returns the (z, y, x) values of a box of the scan.
    scan : Grid
        Grid of the scan, in the world of the heatmap.

    Returns
    -------
    list of Density
        In the order of the candidates. Each slab of the scan is read at most once.
    """
    fine = scan.converted(heatmap.unit)
    places = [_placed(candidate, heatmap, fine) for candidate in candidates]
    sums = np.zeros((len(candidates), 3))
    for slab in slabs(scan.shape):
        parts = [(row, box.intersection(slab)) for row, (box, _) in enumerate(places)]
        parts = [(row, part) for row, part in parts if part.size]
        if not parts:
            continue
        around = parts[0][1]
        for _, part in parts:
            around = around.union(part)
        values = np.asarray(read(around))
        for row, part in parts:
            box, inside = places[row]
            own = values[part.relative_to(around.start).slices]
            chosen = own[inside[part.relative_to(box.start).slices]].astype(np.float64)
            sums[row] += len(chosen), chosen.sum(), (chosen**2).sum()
    count, total, squares = sums.T
    mean = total / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
    return [Density(float(m), float(d)) for m, d in zip(mean, deviation, strict=True)]


def _placed(candidate: Candidate, heatmap: Grid, scan: Grid) -> tuple[Box, Array]:
    """Return a box of the scan and the mask of its voxels that belong to a region."""
    start, index = [], []
    for axis in range(3):
        low = heatmap.origin[axis] + (candidate.box.start[axis] - 0.5) * heatmap.spacing[axis]
        high = heatmap.origin[axis] + (candidate.box.stop[axis] - 0.5) * heatmap.spacing[axis]
        ends = ((edge - scan.origin[axis]) / scan.spacing[axis] for edge in (low, high))
        first, last = (math.floor(end) for end in ends)
        own = np.arange(max(0, first), min(scan.shape[axis], last + 2))
        world = scan.origin[axis] + own * scan.spacing[axis]
        there = np.floor((world - heatmap.origin[axis]) / heatmap.spacing[axis] + 0.5)
        there = there.astype(np.int64) - candidate.box.start[axis]
        keep = (there >= 0) & (there < candidate.box.shape[axis])
        start.append(int(own[keep][0]) if keep.any() else 0)
        index.append(there[keep])
    inside = candidate.mask[np.ix_(*index)]
    if not inside.any():
        centre = scan.index(heatmap.world(candidate.centre))
        nearest = [min(max(round(c), 0), n - 1) for c, n in zip(centre, scan.shape, strict=True)]
        return Box.sized(nearest, (1, 1, 1)), np.ones((1, 1, 1), bool)
    return Box.sized(start, shape3(inside.shape)), inside
