"""Positions in a scan's array as positions in the patient."""

from __future__ import annotations

from typing import Any

import numpy as np

from parafovea.grid import Grid

Array = np.ndarray[Any, Any]

#: From RAS, the system of NIfTI affines, to LPS, that of DICOM and LUNA16, and back.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def lps_affine(grid: Grid, affine: Array | None) -> Array:
    """Return the matrix from a scan's voxels to the patient.

    Parameters
    ----------
    grid : Grid
        Of the scan; counts where there is no affine, as positions in LPS.
    affine : (4, 4) float64 or None
        From voxel (x, y, z) to RAS millimetres, as `Source.affine`.

    Returns
    -------
    (4, 4) float64
        From voxel (x, y, z) to LPS millimetres.
    """
    if affine is not None:
        return np.asarray(RAS_TO_LPS @ np.asarray(affine, np.float64))
    world = grid.converted("millimeter")
    matrix = np.diag([*world.spacing[::-1], 1.0])
    matrix[:3, 3] = world.origin[::-1]
    return matrix


def to_patient(index: Array, matrix: Array) -> Array:
    """Return LPS positions.

    Parameters
    ----------
    index : (n, 3) float64
        Voxels of the scan along z, y, x.
    matrix : (4, 4) float64
        From `lps_affine`.

    Returns
    -------
    (n, 3) float64
        Millimetres along x, y, z.
    """
    return np.asarray(np.asarray(index)[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3])


def to_voxels(points: Array, matrix: Array) -> Array:
    """Return the voxels (n, 3) along z, y, x at LPS positions (n, 3) along x, y, z."""
    inverse = np.linalg.inv(matrix)
    return np.asarray((np.asarray(points) @ inverse[:3, :3].T + inverse[:3, 3])[:, ::-1])
