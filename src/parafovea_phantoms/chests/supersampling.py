"""Supersampling of thick voxels, for realistic partial volume effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parafovea.geometry.grid import Grid, Vector, shape3, vector3
from parafovea_phantoms.lattice import Field, Lattice

#: Voxels thicker than this many times the finest spacing are drawn as this many thinner ones.
THICK, THINNER = 2.0, 3


@dataclass(frozen=True)
class SupersampledGrid:
    """A supersampled grid and its relation to the original grid.

    Parameters
    ----------
    grid : Grid
        The supersampled grid, in millimetres.
    factor : tuple of int
        Its voxels per original voxel along z, y, x; odd, so that centres coincide.
    lattice : Lattice
        Lattice of the original voxels, in the world of the supersampled grid.
    """

    grid: Grid
    factor: tuple[int, int, int]
    lattice: Lattice

    @classmethod
    def of(cls, grid: Grid) -> SupersampledGrid:
        """Return the supersampled grid of a grid in millimetres."""
        least = min(grid.spacing)
        factor = shape3([THINNER if s >= THICK * least else 1 for s in grid.spacing])
        shape = shape3([n * k for n, k in zip(grid.shape, factor, strict=True)])
        spacing = vector3([s / k for s, k in zip(grid.spacing, factor, strict=True)])
        fine = Grid(shape, spacing, unit=grid.unit)
        known = Lattice.over(fine, length=1.0)
        offset = [(k - 1) / 2 * s for k, s in zip(factor, spacing, strict=True)]
        return cls(fine, factor, Lattice(known.shape, known.step, grid.spacing, vector3(offset)))

    def index(self, position: Vector) -> Vector:
        """Return the (fractional) original voxel index of a position in millimetres."""
        terms = zip(position, self.lattice.offset, self.lattice.voxel, strict=True)
        return vector3([(p - o) / s for p, o, s in terms])

    def averaged(self, values: Field) -> Field:
        """Return the means over the original voxels: (z, y, x) float32."""
        for axis, count in enumerate(self.factor):
            if count > 1:
                first, *rest = np.moveaxis(
                    values.reshape(*values.shape[:axis], -1, count, *values.shape[axis + 1 :]),
                    axis + 1,
                    0,
                )
                values = (sum(rest, start=first)) * np.float32(1 / count)
        return values
