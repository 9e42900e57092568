"""Body segmentation in a CT: excludes surrounding air and table, includes lungs and airways."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from parafovea.errors import VoxelError
from parafovea.geometry.grid import AXES
from parafovea.preprocess.coarse_view import CoarseArray, pooled

Array = np.ndarray[Any, Any]

#: Threshold in HU between air and tissue, for voxels that are averages of many.
BODY_HU = -400.0

#: An air region at the edge of a slice is lung cut off by the field of view if its median HU
#: exceeds the first value, and the share of its outline on the edge is below the second one. For
#: air between body and table, that share is larger.
OUTSIDE_HU, CUT_SHARE = -920.0, 0.42

#: Voxels of the coarse view per voxel of the body mask, about 4 mm.
_POOL = 2

_FACES = ndimage.generate_binary_structure(3, 1)


def body_mask(view: CoarseArray, *, limit: float = BODY_HU, axial: int = 0) -> CoarseArray:
    """Return the body mask, computed from the scan alone.

    Tissue is denser than a limit. The largest component after removal of thin connections is the
    body, which excludes table, sheets and tubes; then, slice by slice, enclosed regions are filled
    in, and lung that is cut off by the field of view.

    Parameters
    ----------
    view : CoarseArray
        The scan, from `coarse_view`.
    limit : float
        Threshold in HU; denser voxels are tissue.
    axial : int
        Array axis along the length of the patient: 0 for z.

    Returns
    -------
    CoarseArray
        bool, in voxels of about 4 mm, dilated by one of them, so that no skin is lost.

    Raises
    ------
    VoxelError
        If no voxel is denser than the limit.
    """
    scan = pooled(view, _POOL)
    tissue = scan.values > limit
    if not tissue.any():
        raise VoxelError(
            f"no voxel is denser than {limit:g} HU, so that there is no body in it: give a CT in "
            "Hounsfield units, with its rescale slope and intercept applied"
        )
    body = _largest(tissue)
    filled = np.stack(
        [
            _filled(*planes)
            for planes in zip(
                np.moveaxis(body, axial, 0), np.moveaxis(scan.values, axial, 0), strict=True
            )
        ],
        axis=axial,
    )
    return CoarseArray(ndimage.binary_dilation(filled, _FACES), scan.grid)


def _largest(tissue: Array) -> Array:
    """Return the largest component after cutting thin connections, restored to its full width."""
    # Voxels beyond the field of view count as tissue: a body that it cuts off is not eroded there.
    core = ndimage.binary_erosion(tissue, _FACES, border_value=1)
    labels, count = ndimage.label(core if core.any() else tissue)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    grown = ndimage.binary_dilation(labels == sizes.argmax(), _FACES, iterations=2, mask=tissue)
    return np.asarray(grown)


def _filled(body: Array, hu: Array) -> Array:
    """Return the body in a slice with enclosed regions and lung at the slice's edge filled in."""
    if not body.any():
        return body
    labels, count = ndimage.label(~body)
    rim = np.zeros(body.shape, bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    touching = np.unique(labels[rim])
    filled = body.copy()
    for label, place in enumerate(ndimage.find_objects(labels, count), start=1):
        part = labels[place] == label
        if label not in touching or _is_cut_lung(part, rim[place], hu[place]):
            filled[place] |= part
    return filled


def _is_cut_lung(part: Array, rim: Array, hu: Array) -> bool:
    outline = part & ~ndimage.binary_erosion(part)
    share = float((part & rim).sum()) / float(outline.sum())
    return share < CUT_SHARE and float(np.median(hu[part])) > OUTSIDE_HU


def axial_axis(affine: Array | None) -> int:
    """Return the array axis (of z, y, x) closest to the length of the patient.

    Parameters
    ----------
    affine : (4, 4) float64 or None
        From voxel (x, y, z) to RAS or LPS millimetres; None means z.
    """
    if affine is None:
        return AXES.index("z")
    columns = np.asarray(affine, np.float64)[:3, :3]
    towards = np.abs(columns[2]) / np.linalg.norm(columns, axis=0)
    return 2 - int(towards.argmax())
