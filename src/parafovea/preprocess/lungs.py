"""The lungs in a CT: air within the body, without the windpipe, with vessels and nodules in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from parafovea.preprocess.coarse_view import CoarseArray

Array = np.ndarray[Any, Any]

#: HU between lung and tissue in voxels of about 2 mm.
LUNG_HU = -450.0

#: Means of voxels within the windpipe are less dense, those of most lungs denser.
AIRWAY_HU = -930.0

#: Cubic millimetres: what is smaller is gut, not lung; what is larger is emphysema, not windpipe.
SMALLEST_LUNG, LARGEST_AIRWAY = 60_000.0, 120_000.0

#: Half the width of the widest windpipe, and the width of what is filled in between lung, mm.
_AIRWAY_RADIUS, _CLOSING = 14.0, 8.0


def lung_mask(view: CoarseArray, body: CoarseArray) -> CoarseArray | None:
    """Return where the lungs are, or None where there are none.

    Parameters
    ----------
    view : CoarseArray
        The scan, from `coarse_view`.
    body : CoarseArray
        From `body_mask`.

    Returns
    -------
    CoarseArray or None
        bool, on the view's grid; holes up to about 8 mm wide, such as vessels, are filled, and
        larger ones that are enclosed, such as nodules.
    """
    air = (view.values < LUNG_HU) & _inside(view, body)
    air &= ~_airways(air, view)
    # Bronchi's walls and the windpipe's edge are a voxel thin.
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
    """Return the body on the view's grid, by the nearest voxel, less its margin."""
    slim = ndimage.binary_erosion(body.values, border_value=1)
    index = []
    for axis in range(3):
        place = view.grid.origin[axis] + np.arange(view.grid.shape[axis]) * view.grid.spacing[axis]
        there = np.rint((place - body.grid.origin[axis]) / body.grid.spacing[axis])
        index.append(np.clip(there, 0, body.grid.shape[axis] - 1).astype(np.int64))
    return np.asarray(slim[np.ix_(*index)])


def _airways(air: Array, view: CoarseArray) -> Array:
    """Return the windpipe and its branches: pure air, narrow; nothing where the lungs are as thin.

    Notes
    -----
    In emphysema the lung itself is that thin; then a part is too large or too wide, and stays.
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
    """Return the lungs with narrow and with enclosed gaps filled in; the two lungs stay apart."""
    reach = _CLOSING / 2
    margin = [(int(reach / s) + 2,) * 2 for s in spacing]
    wide = np.pad(lungs, margin)
    labels, count = ndimage.label(wide)
    result = np.zeros(wide.shape, bool)
    for label in range(1, count + 1):
        grown = ndimage.distance_transform_edt(labels != label, sampling=spacing) <= reach
        shrunk = ndimage.distance_transform_edt(grown, sampling=spacing) > reach
        result |= ndimage.binary_fill_holes(shrunk | (labels == label))
    inner = tuple(slice(a, -b) for a, b in margin)
    return np.asarray(result[inner])


def border_distance(lungs: CoarseArray, points: Array) -> Array:
    """Return how far points lie within the lungs.

    Parameters
    ----------
    lungs : CoarseArray
        From `lung_mask`.
    points : (n, 3) float64
        World positions along z, y, x, in millimetres.

    Returns
    -------
    (n,) float64
        Millimetres to the lungs' border: positive inside, negative outside, exact to about one
        and a half voxels of the mask. Where the picture ends is no border.
    """
    if not len(points):
        return np.zeros(0)
    spacing = lungs.grid.spacing
    inside = ndimage.distance_transform_edt(np.pad(lungs.values, 1, mode="edge"), sampling=spacing)
    outside = ndimage.distance_transform_edt(
        ~np.pad(lungs.values, 1, mode="edge"), sampling=spacing
    )
    half = min(spacing) / 2
    # Distances lead to the nearest voxel's centre; the border lies half a voxel before it.
    signed = np.where(inside > 0, inside - half, half - outside)
    index = (points - np.array(lungs.grid.origin)) / np.array(spacing) + 1
    return np.asarray(ndimage.map_coordinates(signed, index.T, order=1, mode="nearest"))
