"""A part of a chest in the making: each tissue covers what was there, by its share of a voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Shape
from parafovea_phantoms.chests import tissues
from parafovea_phantoms.lattice import Field


def share(inside: Field, width: float) -> Field:
    """Return which share of a voxel lies in a body, from the signed distance of its centre.

    Parameters
    ----------
    inside : ndarray
        (z, y, x) float32 signed distance in millimetres, positive inside.
    width : float
        Side of a voxel, in millimetres.
    """
    part: Field = np.clip(inside * np.float32(1 / width) + np.float32(0.5), 0, 1)
    return part


class Canvas:
    """Hounsfield units and regions of a box, drawn from the back to the front.

    Parameters
    ----------
    shape : tuple of int
        Voxels along z, y, x.

    Attributes
    ----------
    values : ndarray
        (z, y, x) float32 Hounsfield units, of air at first.
    regions : ndarray
        (z, y, x) uint8 index into `tissues.REGIONS`.
    froth : ndarray
        (z, y, x) float32 share of a voxel that has the texture of lung.
    """

    def __init__(self, shape: Shape) -> None:
        self.values: Field = np.full(shape, tissues.AIR, dtype=np.float32)
        self.regions: NDArray[np.uint8] = np.zeros(shape, dtype=np.uint8)
        self.froth: Field = np.zeros(shape, dtype=np.float32)

    def paint(
        self, part: Field, value: float | Field, region: int | None, *, froth: bool = False
    ) -> None:
        """Cover a share of each voxel by a tissue.

        Parameters
        ----------
        part : ndarray
            (z, y, x) float32 share, in [0, 1].
        value : float or ndarray
            Hounsfield units.
        region : int or None
            What voxels become that are covered by half; None leaves them what they are.
        froth : bool
            Whether the tissue has the texture of lung.
        """
        if not part.any():
            return
        self.values += part * (value - self.values)
        self.froth += part * ((1.0 if froth else 0.0) - self.froth)
        if region is not None:
            self.regions[part >= 0.5] = region
