"""Nodules told by their density from the lung around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    binary_propagation,
    generate_binary_structure,
)

from parafovea.geometry.grid import Vector

Array = np.ndarray[Any, Any]

#: HU that values are cut to where lung is told from tissue: padding is air, and bone is tissue.
AIR, TISSUE = -1024.0, 200.0

#: HU below which what surrounds a nodule is lung.
LUNG = -500.0

#: HU by which a nodule is at least denser than the lung: less is noise.
CONTRAST = 150.0

#: Voxels within a nodule that are enough to leave out those at its border, which are partly lung.
INNER = 5

_CROSS = generate_binary_structure(3, 1)


@dataclass(frozen=True)
class Tissue:
    """A nodule in a box of a scan.

    Parameters
    ----------
    mask : (z, y, x) bool
        Voxels that are more nodule than lung; not empty.
    share : (z, y, x) float32
        Share of each voxel that is nodule, in [0, 1]: 1 inside of the mask, and at its border, by
        density, also of the voxels that adjoin it.
    """

    mask: Array
    share: Array


def nodule_tissue(values: Array, region: Array, around: Array) -> Tissue | None:
    """Find the nodule of which a region is known roughly.

    The density of a scan has a sharp border between tissue and lung: what is nearer to the tissue
    than to the lung (half of the difference of their medians) is nodule, where it lies in the
    region, or adjoins what does and has the same density.

    Parameters
    ----------
    values : (z, y, x)
        HU.
    region : (z, y, x) bool
        Where the nodule is expected; not empty.
    around : (z, y, x) bool
        The region and as far around it as the nodule may reach.

    Returns
    -------
    Tissue or None
        None where no lung is near the region, or nothing but lung.
    """
    capped = np.clip(values, AIR, TISSUE).astype(np.float64)
    level = tissue_border(capped[around])
    if level is None:
        return None
    limit, upper = level
    dense = capped >= limit
    seed = region & dense
    if not seed.any():
        return None
    # a rib beside the nodule is denser by more than the nodule is denser than the border
    alike = values <= upper
    mask = np.asarray(binary_propagation(seed, mask=seed | (around & dense & alike)))
    share = np.clip(0.5 + (capped - limit) / (upper - limit), 0, 1)
    share[binary_erosion(mask, _CROSS)] = 1
    share[~(mask | (binary_dilation(mask, _CROSS) & around & alike))] = 0
    return Tissue(mask, share.astype(np.float32))


def inner_voxels(mask: Array, spacing: Vector) -> Array:
    """Return a mask without the voxels at its border, if `INNER` others are left.

    First those at its border along any axis, else along any but that of the largest voxels.

    Parameters
    ----------
    mask : (z, y, x) bool
        Not empty.
    spacing : tuple of float
        Of the voxels, along z, y, x.
    """
    flat = _CROSS.copy()
    # the neighbours before and behind along the axis of the largest voxels
    np.moveaxis(flat, int(np.argmax(spacing)), 0)[[0, 2]] = False
    for structure in (_CROSS, flat):
        inner = np.asarray(binary_erosion(mask, structure))
        if np.count_nonzero(inner) >= INNER:
            return inner
    return mask


def tissue_border(values: Array) -> tuple[float, float] | None:
    """Return HU half way between lung and tissue, and as much above the tissue.

    None where the values are not of lung and tissue. The halves are found by iterated means, as in
    T. W. Ridler and S. Calvard, IEEE Trans. SMC 8, 1978, with medians, which partial voxels and the
    extent of the surroundings hardly change.
    """
    limit = float(values.min() + values.max()) / 2
    for _ in range(100):
        low, high = values[values < limit], values[values >= limit]
        if not len(low) or not len(high):
            return None
        lung, tissue = float(np.median(low)), float(np.median(high))
        before, limit = limit, (lung + tissue) / 2
        if abs(limit - before) < 0.5:
            break
    if lung > LUNG or tissue - lung < CONTRAST:
        return None
    return limit, tissue + (tissue - limit)
