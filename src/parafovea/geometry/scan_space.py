"""Conversion between the voxels of a scan and patient coordinates.

Voxels of the scan's own array and of other grids of the same scan, such as the model's, are
fractional indices along z, y, x. World positions are in the DICOM patient coordinate system: x, y,
z in millimetres towards left, posterior and superior (LPS). NIfTI affines map to right, anterior
and superior (RAS) instead: x and y change sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parafovea.errors import GridError
from parafovea.geometry.grid import Grid

Floats = NDArray[np.float64]

#: Converts LPS positions (x, y, z, 1) to RAS, and back.
LPS_TO_RAS: Floats = np.diag([-1.0, -1.0, 1.0, 1.0])

#: Cosine of the angle between two axes up to which they count as perpendicular: directions are
#: often stated with four digits only. Up to the second number they are taken as they are, which ITK
#: accepts too.
SKEW = 1e-3
EXACT = 1e-6


def square_affine(affine: ArrayLike) -> Floats:
    """Return an affine whose axes are perpendicular, as ITK and the quaternion of NIfTI need it.

    Parameters
    ----------
    affine : array_like
        4 x 4, from voxel (x, y, z, 1) to millimetres.

    Returns
    -------
    ndarray
        (4, 4) float64. Axes that are perpendicular to `EXACT` stay as they are; up to `SKEW` the
        nearest perpendicular ones take their place. Origin and voxel sizes stay.

    Raises
    ------
    GridError
        If numbers are not finite, axes coincide, or axes are sheared, as those of a scan with a
        tilted gantry.
    """
    given = np.array(affine, dtype=np.float64)
    if given.shape != (4, 4) or not np.isfinite(given).all():
        raise GridError(f"affine {given.tolist()} must be 4 x 4 finite numbers")
    lengths = np.linalg.norm(given[:3, :3], axis=0)
    # relative to a box of the same edges: 0 if axes coincide
    if not lengths.all() or abs(np.linalg.det(given[:3, :3] / lengths)) < 1e-6:
        raise GridError(
            f"affine {given.tolist()} maps several voxels to one point: correct it in the file"
        )
    directions = given[:3, :3] / lengths
    skew = np.abs(directions.T @ directions - np.eye(3))
    if skew.max() <= EXACT:
        return given
    if skew.max() > SKEW:
        first, second = sorted(np.unravel_index(int(skew.argmax()), (3, 3)))
        angle = np.degrees(np.arccos(directions[:, first] @ directions[:, second]))
        raise GridError(
            f"its axes {'xyz'[first]} and {'xyz'[second]} meet at {angle:.4g} degrees instead of "
            "90, as those of a scan with a tilted gantry: resample it to a straight volume first, "
            "for example with dcm2niix"
        )
    left, _, right = np.linalg.svd(directions)
    given[:3, :3] = (left @ right) * lengths
    return given


@dataclass(frozen=True)
class ScanSpace:
    """Voxel and patient coordinates of a scan.

    Parameters
    ----------
    grid : Grid
        Grid of the scan's own array; other grids of the same scan share its world.
    affine : ndarray or None
        4 x 4, from voxel (x, y, z, 1) of the scan to RAS millimetres, as NIfTI defines it. None for
        formats without an affine: the grid's world, in millimetres, is then taken as LPS.

    Raises
    ------
    GridError
        If the affine cannot be inverted, or its axes are sheared; see `square_affine`.
    """

    grid: Grid
    affine: Floats | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        affine = _plain_affine(self.grid) if self.affine is None else self.affine
        object.__setattr__(self, "affine", square_affine(affine))

    @classmethod
    def from_record(cls, source: Mapping[str, Any]) -> ScanSpace:
        """Return the scan space of the source that `resample_volume` recorded with a volume.

        Parameters
        ----------
        source : mapping
            The volume's attribute `source`, with `grid` and `affine`.
        """
        affine = source["affine"]
        return cls(
            Grid.from_dict(source["grid"]), None if affine is None else np.asarray(affine, float)
        )

    @property
    def lps_affine(self) -> Floats:
        """4 x 4, from voxel (x, y, z, 1) of the scan to LPS millimetres."""
        return LPS_TO_RAS @ np.asarray(self.affine, dtype=np.float64)

    def world_of_voxel(self, index: ArrayLike) -> Floats:
        """Return LPS positions of voxels of the scan.

        Parameters
        ----------
        index : array_like
            (..., 3) along z, y, x, fractional; 0 is the centre of the first voxel.

        Returns
        -------
        ndarray
            (..., 3) float64 x, y, z in millimetres.
        """
        matrix = self.lps_affine
        reversed_index = np.asarray(index, dtype=np.float64)[..., ::-1]
        return reversed_index @ matrix[:3, :3].T + matrix[:3, 3]

    def voxel_of_world(self, position: ArrayLike) -> Floats:
        """Return voxels of the scan at LPS positions.

        Parameters
        ----------
        position : array_like
            (..., 3) x, y, z in millimetres.

        Returns
        -------
        ndarray
            (..., 3) float64 along z, y, x, fractional; may lie outside of the scan.
        """
        matrix = self.lps_affine
        offset = np.asarray(position, dtype=np.float64) - matrix[:3, 3]
        solved = np.linalg.solve(matrix[:3, :3], offset.reshape(-1, 3).T).T
        return np.ascontiguousarray(solved.reshape(offset.shape)[..., ::-1])

    def voxel_of_grid(self, index: ArrayLike, grid: Grid) -> Floats:
        """Return voxels of the scan at voxels of another grid.

        Parameters
        ----------
        index : array_like
            (..., 3) along z, y, x of `grid`, fractional.
        grid : Grid
            A grid in the world of the scan's grid, in any unit.

        Returns
        -------
        ndarray
            (..., 3) float64 along z, y, x of the scan.
        """
        return _reindexed(index, grid, self.grid)

    def world_of_grid(self, index: ArrayLike, grid: Grid) -> Floats:
        """Return LPS positions (..., 3) x, y, z of voxels (..., 3) z, y, x of another grid."""
        return self.world_of_voxel(self.voxel_of_grid(index, grid))

    def nearest_voxel(self, position: ArrayLike) -> NDArray[np.int64]:
        """Return the scan's voxels nearest to LPS positions, as x, y, z indices.

        Parameters
        ----------
        position : array_like
            (..., 3) x, y, z in millimetres.

        Returns
        -------
        ndarray
            (..., 3) int64 along x, y, z, within the scan.
        """
        index = np.floor(self.voxel_of_world(position)[..., ::-1] + 0.5).astype(np.int64)
        return np.clip(index, 0, np.asarray(self.grid.shape[::-1]) - 1)


def _plain_affine(grid: Grid) -> Floats:
    """Return the affine to RAS of a grid whose world is LPS."""
    placed = grid.converted("millimeter")
    affine = np.diag([*placed.spacing[::-1], 1.0])
    affine[:3, 3] = placed.origin[::-1]
    return LPS_TO_RAS @ affine


def _reindexed(index: ArrayLike, given: Grid, wanted: Grid) -> Floats:
    there = given.converted(wanted.unit)
    world = np.asarray(there.origin) + np.asarray(index, np.float64) * np.asarray(there.spacing)
    return np.asarray((world - np.asarray(wanted.origin)) / np.asarray(wanted.spacing))
