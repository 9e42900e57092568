"""Body and lung masks of a CT, computed once and stored within its volume for later stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box
from parafovea.preprocess.body import axial_axis, body_mask
from parafovea.preprocess.coarse_view import CoarseArray, coarse_view
from parafovea.preprocess.lungs import lung_mask
from parafovea.storage.store import LabelImage, Stored, label_image_path, open_stored

Array = np.ndarray[Any, Any]

#: Label images of a volume: body and lungs from the scan's own voxels, and the body from the
#: normalized voxels.
BODY, LUNGS, VOLUME_BODY = "body", "lungs", "volume_body"


@dataclass(frozen=True)
class BodyMasks:
    """Body and lung masks from the scan's own voxels.

    Parameters
    ----------
    body : CoarseArray
        bool, from `body_mask`, in voxels of about 4 mm.
    lungs : CoarseArray or None
        bool, from `lung_mask`, in voxels of about 2 mm; None if the scan shows no lungs.
    """

    body: CoarseArray
    lungs: CoarseArray | None

    @classmethod
    def of(cls, view: CoarseArray, *, affine: Array | None = None) -> BodyMasks:
        """Return the masks of a scan.

        Parameters
        ----------
        view : CoarseArray
            The scan in HU, from `coarse_view`.
        affine : (4, 4) float64, optional
            From the scan's voxel (x, y, z) to RAS millimetres; by default, z is along the patient's
            length.

        Raises
        ------
        VoxelError
            If no voxel is denser than air.
        """
        body = body_mask(view, axial=axial_axis(affine))
        return cls(body, lung_mask(view, body))


def volume_body(volume: Stored) -> CoarseArray:
    """Return the body mask of a volume normalized by `resample_volume`.

    The source values that became 0 and 1 are read from its record; clipped values remain clipped,
    which can only enlarge the body. A volume whose values are not HU, but all positive, is entirely
    body.

    Parameters
    ----------
    volume : Stored
        ([channel,] z, y, x) float16, normalized; of several channels, the first is taken.

    Returns
    -------
    CoarseArray
        bool, in voxels of about 4 mm.

    Raises
    ------
    VoxelError
        If no voxel is denser than air.
    """
    volume = volume.first_channel
    facts = volume.attributes.get("normalization", {})
    zero, one = float(facts.get("zero", 0.0)), float(facts.get("one", 1.0))

    def read(box: Box) -> Array:
        return np.asarray(volume.read(box), np.float32) * np.float32(one - zero) + np.float32(zero)

    affine = volume.attributes.get("source", {}).get("affine")
    array = None if affine is None else np.asarray(affine)
    return body_mask(coarse_view(read, volume.grid), axial=axial_axis(array))


def label_images(masks: BodyMasks, volume: CoarseArray) -> dict[str, LabelImage]:
    """Return the label images to store in a volume.

    Parameters
    ----------
    masks : BodyMasks
        Masks of its scan.
    volume : CoarseArray
        From `volume_body`.
    """
    lungs = masks.lungs
    if lungs is None:
        lungs = CoarseArray(np.zeros_like(masks.body.values), masks.body.grid)
    named = {BODY: masks.body, LUNGS: lungs, VOLUME_BODY: volume}
    return {name: LabelImage(mask.values, mask.grid) for name, mask in named.items()}


def stored_masks(volume: Path) -> BodyMasks:
    """Return body and lung masks of a scan, as stored by `resample_volume`.

    Parameters
    ----------
    volume : Path
        Store of the scan's volume.

    Raises
    ------
    StoreError
        If the volume is missing or damaged, or was stored without them.
    """
    lungs = _stored(volume, LUNGS)
    return BodyMasks(_stored(volume, BODY), lungs if lungs.values.any() else None)


def stored_volume_body(volume: Path) -> CoarseArray:
    """Return `volume_body`, as stored by `resample_volume`; see `stored_masks`."""
    return _stored(volume, VOLUME_BODY)


def _stored(volume: Path, name: str) -> CoarseArray:
    if not label_image_path(volume, name).is_dir():
        raise StoreError(
            f"{volume} has no label image {name!r}, which resample_volume stores for scans of a "
            f"detection: delete {volume} and run again"
        )
    stored = open_stored(label_image_path(volume, name))
    return CoarseArray(stored.read().astype(bool), stored.grid)
