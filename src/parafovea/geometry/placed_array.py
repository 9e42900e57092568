"""An array in memory that knows where its voxels lie in the patient."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from parafovea.errors import GridError
from parafovea.geometry.scan_space import ScanSpace


class PlacedArray(np.ndarray[Any, np.dtype[Any]]):
    """An array (z, y, x) with its place.

    What is computed from it, a slice or a flipped view included, is an array without a place, since
    its voxels may be others.

    Parameters
    ----------
    values : ndarray
        (z, y, x).
    space : ScanSpace
        Grid and affine of the voxels.
    name : str
        Name of the scan.

    Attributes
    ----------
    space : ScanSpace or None
        None for an array that was computed from a placed one.
    name : str
        Empty where `space` is None.

    Raises
    ------
    GridError
        If the array has another shape than the space's grid.
    """

    space: ScanSpace | None
    name: str

    def __new__(cls, values: np.ndarray[Any, Any], space: ScanSpace, name: str = "") -> Self:
        """Return a view of the values with their place."""
        if values.shape != space.grid.shape:
            raise GridError(
                f"an array of the shape {values.shape} cannot lie on a grid of the shape "
                f"{space.grid.shape}: give the grid of its own voxels"
            )
        placed = np.asarray(values).view(cls)
        placed.space, placed.name = space, name
        return placed

    def __array_finalize__(self, source: Any) -> None:
        """Forget the place: called for each array that is made from another one."""
        self.space, self.name = None, ""
