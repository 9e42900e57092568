"""The body in a scan that was resampled and normalized for a model."""

from __future__ import annotations

import numpy as np

from parafovea.grid import Box
from parafovea.postprocess.body import axial_axis, body_mask
from parafovea.postprocess.coarse import CoarseArray, coarse_view
from parafovea.store import Stored


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
    axial = axial_axis(None if affine is None else np.asarray(affine))
    return body_mask(coarse_view(read, volume.grid), axial=axial)
