"""Form of a nodule: how near to a sphere, and how long in an axial plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist
from skimage.measure import find_contours, marching_cubes, mesh_surface_area

from parafovea.geometry.grid import Vector

Array = np.ndarray[Any, Any]

#: Share of a voxel at the surface of a nodule.
LEVEL = 0.5


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


def measure_form(share: Array, spacing: Vector, *, axial: int = 0) -> Form:
    """Measure the surface of a nodule: where its share of the voxels is one half.

    Parameters
    ----------
    share : (z, y, x) floating point
        Share of each voxel that is nodule, in [0, 1], with all voxels above 0.
    spacing : tuple of float
        Of the voxels, along z, y, x.
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
    field = np.pad(np.asarray(share, np.float32), 1)
    if field.max() <= LEVEL:
        # smaller than a voxel: the outline of the voxels that are most of it
        field = (field >= field.max()).astype(np.float32)
    volume, area = _mesh(field, LEVEL, spacing)
    sphericity = math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
    return Form(min(sphericity, 1.0), _axial_diameter(field, LEVEL, spacing, axial))


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
