"""Lung segmentation in CT: air within the body without the airways, with vessels and nodules."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from parafovea.preprocess.coarse_view import CoarseArray

Array = np.ndarray[Any, Any]

#: HU threshold between lung and tissue, for voxels of about 2 mm.
LUNG_HU = -450.0

#: HU threshold of airways: voxels inside the trachea are below it, most lung voxels above.
AIRWAY_HU = -930.0

#: Minimum volume of a lung (smaller: bowel gas) and maximum volume of airways (larger: emphysema),
#: in cubic millimetres.
SMALLEST_LUNG, LARGEST_AIRWAY = 60_000.0, 120_000.0

#: Maximum radius of the trachea, and maximum width of gaps that are closed, in millimetres.
_AIRWAY_RADIUS, _CLOSING = 14.0, 8.0


def lung_mask(view: CoarseArray, body: CoarseArray) -> CoarseArray | None:
    """Return the mask of the lungs, or None if there are none.

    Parameters
    ----------
    view : CoarseArray
        The scan, from `coarse_view`.
    body : CoarseArray
        The body mask, from `body_mask`.

    Returns
    -------
    CoarseArray or None
        bool, on the view's grid. Gaps up to about 8 mm wide, such as vessels, are filled, and so
        are larger enclosed ones, such as nodules.
    """
    air = (view.values < LUNG_HU) & _inside(view, body)
    air &= ~_airways(air, view)
    # Bronchial walls and the edge of the trachea are one voxel thin.
    opened = ndimage.binary_opening(air, iterations=1)
    labels, count = ndimage.label(opened)
    least = SMALLEST_LUNG / view.grid.voxel_volume
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = sizes >= least
    large[0] = False
    if not large.any():
        return None
    lungs = ndimage.binary_dilation(large[labels], mask=air)
    return CoarseArray(_closed(lungs, view.grid.spacing), view.grid)


def _inside(view: CoarseArray, body: CoarseArray) -> Array:
    """Return the body mask without its margin on the view's grid, by nearest neighbour."""
    slim = ndimage.binary_erosion(body.values, border_value=1)
    index = []
    for axis in range(3):
        place = view.grid.origin[axis] + np.arange(view.grid.shape[axis]) * view.grid.spacing[axis]
        there = np.rint((place - body.grid.origin[axis]) / body.grid.spacing[axis])
        index.append(np.clip(there, 0, body.grid.shape[axis] - 1).astype(np.int64))
    return np.asarray(slim[np.ix_(*index)])


def _airways(air: Array, view: CoarseArray) -> Array:
    """Return the mask of trachea and bronchi: narrow regions of pure air.

    Notes
    -----
    In emphysema, lung tissue is as thin as air; such parts are too large or too wide, and are kept
    as lung.
    """
    pure = ndimage.binary_opening(air & (view.values < AIRWAY_HU))
    labels, count = ndimage.label(pure)
    found = np.zeros(air.shape, bool)
    for label, place in enumerate(ndimage.find_objects(labels, count), start=1):
        part = labels[place] == label
        volume = float(part.sum()) * view.grid.voxel_volume
        if not 1000.0 <= volume <= LARGEST_AIRWAY:
            continue
        depth = ndimage.distance_transform_edt(np.pad(part, 1), sampling=view.grid.spacing)
        if depth.max() <= _AIRWAY_RADIUS:
            found[place] |= part
    return np.asarray(ndimage.binary_dilation(found, iterations=2)) if found.any() else found


def _closed(lungs: Array, spacing: tuple[float, float, float]) -> Array:
    """Return the lungs with narrow and enclosed gaps filled; the two lungs stay separate."""
    reach = _CLOSING / 2
    margin = [(int(reach / s) + 2,) * 2 for s in spacing]
    wide = np.pad(lungs, margin)
    labels, count = ndimage.label(wide)
    result = np.zeros(wide.shape, bool)
    for label, found in enumerate(ndimage.find_objects(labels, count), start=1):
        # what is farther away than the margin makes no difference
        place = tuple(
            slice(part.start - before, part.stop + after)
            for part, (before, after) in zip(found, margin, strict=True)
        )
        lung = labels[place] == label
        grown = ndimage.distance_transform_edt(~lung, sampling=spacing) <= reach
        shrunk = ndimage.distance_transform_edt(grown, sampling=spacing) > reach
        result[place] |= ndimage.binary_fill_holes(shrunk | lung)
    inner = tuple(slice(a, -b) for a, b in margin)
    return np.asarray(result[inner])


def border_distance(lungs: CoarseArray, points: Array) -> Array:
    """Return the distance of points to the border of the lungs.

    Parameters
    ----------
    lungs : CoarseArray
        The lung mask, from `lung_mask`.
    points : (n, 3) float64
        World positions along z, y, x, in millimetres.

    Returns
    -------
    (n,) float64
        Signed distance in millimetres: positive inside, negative outside, accurate to about one
        and a half voxels of the mask. The edge of the volume is not a border; NaN where there is
        none, as in a part of a scan that is all lung.
    """
    if not len(points):
        return np.zeros(0)
    mask = np.pad(lungs.values, 1, mode="edge")
    if mask.all() or not mask.any():
        return np.full(len(points), np.nan)
    place = (points - np.array(lungs.grid.origin)) / np.array(lungs.grid.spacing) + 1
    last = np.array(mask.shape) - 1
    place = np.clip(place, 0, last)
    first = np.minimum(place.astype(np.int64), last - 1)
    corners = np.array(list(np.ndindex(2, 2, 2)))
    voxels = first[:, None] + corners
    share = (place - first)[:, None]
    weights = np.where(corners, share, 1 - share).prod(axis=2)
    signed = _signed_distance(mask, voxels.reshape(-1, 3), lungs.grid.spacing)
    return np.asarray((weights * signed.reshape(weights.shape)).sum(axis=1))


def _signed_distance(mask: Array, voxels: Array, spacing: tuple[float, float, float]) -> Array:
    """Return the distance of voxels to the border of a mask, positive inside.

    Notes
    -----
    The nearest voxel on the other side of the border has a face in common with this side: only
    such voxels are searched. Distances are to its centre; the border lies half a voxel before it.
    """
    border = _beside_border(mask)
    half, step = min(spacing) / 2, np.array(spacing)
    within, at = mask[tuple(border.T)], mask[tuple(voxels.T)]
    distances = np.empty(len(voxels))
    for side in (False, True):
        near, _ = cKDTree(border[within != side] * step).query(voxels[at == side] * step)
        distances[at == side] = near - half if side else half - near
    return distances


def _beside_border(mask: Array) -> Array:
    """Return the voxels, (n, 3), that have a face in common with one on the other side."""
    found = []
    for axis in range(mask.ndim):
        both = np.moveaxis(mask, axis, 0)
        low = np.argwhere(np.moveaxis(both[1:] != both[:-1], 0, axis))
        found += [low, low + np.eye(mask.ndim, dtype=np.int64)[axis]]
    return np.concatenate(found)
