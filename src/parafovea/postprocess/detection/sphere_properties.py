"""Properties of a nodule of which only centre and diameter are known, measured in its scan."""

from __future__ import annotations

from typing import Any

import numpy as np

from parafovea.errors import GridError
from parafovea.geometry.grid import Box, Grid, Vector, shape3, vector3
from parafovea.postprocess.detection.detection_files import Properties, rounded_length
from parafovea.postprocess.detection.form import measure_form
from parafovea.postprocess.detection.heatmap import Volume
from parafovea.postprocess.detection.tissue import inner_voxels, nodule_tissue

Array = np.ndarray[Any, Any]

#: How far a nodule may reach beyond its sphere, as a share of the radius; at least one voxel.
_BEYOND = 0.25


def measure_sphere(scan: Volume, centre: Vector, diameter: float, *, axial: int = 0) -> Properties:
    """Measure the nodule at a sphere.

    Where lung is near, the nodule is what is nearer to the tissue than to the lung within the
    sphere, with the tissue of the same density that adjoins it within a quarter of the radius; see
    `nodule_tissue`. Elsewhere it is the sphere itself.

    Parameters
    ----------
    scan : Volume
        HU; its grid may have any unit of length.
    centre : tuple of float
        Fractional voxel z, y, x of the sphere's centre.
    diameter : float
        Diameter of the sphere in millimetres.
    axial : int
        Array axis along the patient's length.

    Returns
    -------
    Properties
        Volume, mean, standard deviation, sphericity and longest axial diameter.

    Raises
    ------
    GridError
        If the diameter is not positive, or the centre lies outside of the scan.
    """
    grid = scan.grid.converted("millimeter")
    if not (np.isfinite(diameter) and diameter > 0):
        raise GridError(f"diameter {diameter:g} mm must be positive")
    if not all(-0.5 <= c < n - 0.5 for c, n in zip(centre, grid.shape, strict=True)):
        place = ", ".join(f"{c:.1f}" for c in centre)
        raise GridError(
            f"voxel ({place}) (z, y, x) lies outside of the scan of {grid.shape} voxels: give the "
            "scan that it was found in, as load_scan returned it"
        )
    box = _around(centre, diameter / 2, grid)
    local = Grid(box.shape, grid.spacing, unit=grid.unit)
    values = np.asarray(scan.read(box))
    distance = _distances(vector3([c - b for c, b in zip(centre, box.start, strict=True)]), local)
    ball, around = _spheres(distance, diameter / 2, grid.spacing)
    found = nodule_tissue(values, ball, around)
    if found is not None:
        share, mask = found.share, inner_voxels(found.mask, grid.spacing)
        voxels = float(share.sum(dtype=np.float64))
    else:
        # 0.5 at the surface of the sphere, which holds at least its nearest voxel
        step = max(grid.spacing)
        radius = max(diameter / 2, float(distance.min()) + step / 4)
        share, mask = np.clip(0.5 + (radius - distance) / (2 * step), 0, 1), ball
        voxels = float(np.count_nonzero(ball))
    form = measure_form(share, grid.spacing, axial=axial)
    chosen = values[mask].astype(np.float64)
    return Properties(
        volume_mm3=rounded_length(voxels * grid.voxel_volume),
        mean_intensity=rounded_length(float(chosen.mean())),
        std_intensity=rounded_length(float(chosen.std())),
        sphericity=rounded_length(form.sphericity),
        longest_axial_diameter_mm=rounded_length(form.axial_diameter) or None,
    )


def _around(centre: Vector, radius: float, grid: Grid) -> Box:
    """Return the voxels of the scan that a nodule and its border may take."""
    low, high = [], []
    for place, size, length in zip(centre, grid.spacing, grid.shape, strict=True):
        reach = radius * (1 + _BEYOND) / size + 2
        low.append(max(0, int(np.floor(place - reach))))
        high.append(min(length, int(np.ceil(place + reach)) + 1))
    return Box(shape3(low), shape3(high))


def _distances(centre: Vector, grid: Grid) -> Array:
    """Return the distance (z, y, x) of each voxel from a voxel, in the grid's unit."""
    squares = [
        ((np.arange(n) - c) * s) ** 2
        for n, c, s in zip(grid.shape, centre, grid.spacing, strict=True)
    ]
    total = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    return np.asarray(np.sqrt(total))


def _spheres(distance: Array, radius: float, spacing: Vector) -> tuple[Array, Array]:
    """Return the sphere, at least its nearest voxel, and how far the nodule may reach."""
    ball = distance <= radius
    ball[np.unravel_index(int(distance.argmin()), distance.shape)] = True
    return ball, ball | (distance <= radius + max(_BEYOND * radius, *spacing))
