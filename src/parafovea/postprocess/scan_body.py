"""The body in a scan: as it was measured, or resampled and normalized for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.grid import Box, Grid
from parafovea.postprocess.body import axial_axis, body_mask
from parafovea.postprocess.coarse import CoarseArray, coarse_view
from parafovea.resample import ReadBox
from parafovea.store import Stored


@dataclass(frozen=True)
class BodyView:
    """A scan in voxels of about two millimetres, and the body in it.

    Parameters
    ----------
    view : CoarseArray
        HU, from `coarse_view`.
    body : CoarseArray
        bool, from `body_mask`.
    """

    view: CoarseArray
    body: CoarseArray

    @classmethod
    def of(
        cls, read: ReadBox, grid: Grid, *, affine: np.ndarray[Any, Any] | None = None
    ) -> BodyView:
        """Return the view of a scan, which is read once, in slabs.

        Parameters
        ----------
        read : callable
            Returns the voxels (z, y, x) of a box of the scan, in HU.
        grid : Grid
            Of the scan, in any unit of length.
        affine : (4, 4) float64, optional
            From the scan's voxel (x, y, z) to RAS millimetres; without it z is the patient's
            length.

        Raises
        ------
        VoxelError
            If no voxel is denser than air.
        """
        view = coarse_view(read, grid)
        return cls(view, body_mask(view, axial=axial_axis(affine)))


def stored_body(volume: Stored) -> CoarseArray:
    """Return where the body is in a volume as `resample_volume` wrote it.

    Its record says which source values became 0 and 1; values that were cut there stay cut, which
    can only make the body larger. A volume whose values are no HU, but all positive, is all body.

    Parameters
    ----------
    volume : Stored
        (z, y, x) float16, normalized.

    Returns
    -------
    CoarseArray
        bool, in voxels of about 4 mm.

    Raises
    ------
    VoxelError
        If no voxel is denser than air.
    """
    facts = volume.attributes.get("normalization", {})
    zero, one = float(facts.get("zero", 0.0)), float(facts.get("one", 1.0))

    def read(box: Box) -> np.ndarray:
        return np.asarray(volume.read(box), np.float32) * np.float32(one - zero) + np.float32(zero)

    affine = volume.attributes.get("source", {}).get("affine")
    array = None if affine is None else np.asarray(affine)
    return BodyView.of(read, volume.grid, affine=array).body
