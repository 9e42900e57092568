"""Splitting of touching objects by watershed on the distance to their surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

Array = np.ndarray[Any, Any]

_CORNERS = np.ones((3, 3, 3), bool)


def split_object(
    mask: Array,
    *,
    spacing: Sequence[float],
    distance: float,
    min_voxels: int = 0,
    connectivity: int = 26,
) -> Array:
    """Divide one object into pieces around the places that lie deepest within it.

    The markers are the maxima of the Euclidean distance to the surface that stand out by at least
    half of the coarsest voxel (extended maxima: smaller ripples are an effect of voxels). Of two
    markers closer than `distance` the deeper one stays, the first in scan order if they are
    equal. Nothing is random.

    Parameters
    ----------
    mask : (z, y, x) bool
        One object, with a margin of a voxel wherever the volume goes on.
    spacing : sequence of float
        Distance between voxel centres along z, y, x, in world units.
    distance : float
        Least distance between the centres of two pieces, in world units.
    min_voxels : int
        Smaller pieces are left to their neighbours.
    connectivity : {6, 18, 26}
        Neighbours of a voxel within the object.

    Returns
    -------
    (z, y, x) int32
        Pieces 1..n in scan order of their centres; 0 outside of the object.
    """
    whole = np.asarray(mask, dtype=np.int32)
    if mask.all():
        return whole
    depth = ndimage.distance_transform_edt(mask, sampling=spacing)
    markers = _markers(depth, spacing=spacing, distance=distance)
    if len(markers) < 2:
        return whole
    reach = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    pieces = _flooded(depth, markers, mask, reach)
    sizes = np.bincount(pieces.reshape(-1), minlength=len(markers) + 1)[1:]
    large = np.flatnonzero(sizes >= min_voxels)
    if len(large) == len(markers):
        return pieces
    if len(large) < 2:
        return whole
    # Without the markers of small pieces the others only grow: one repetition is enough.
    return _flooded(depth, markers[large], mask, reach)


def _flooded(depth: Array, markers: Array, mask: Array, reach: Array) -> Array:
    seeds = np.zeros(depth.shape, np.int32)
    seeds.reshape(-1)[markers] = np.arange(1, len(markers) + 1)
    return np.asarray(watershed(-depth, seeds, connectivity=reach, mask=mask), dtype=np.int32)


def _markers(depth: Array, *, spacing: Sequence[float], distance: float) -> Array:
    """Return the flat positions of the markers in scan order: (n,) int64."""
    # The extended maxima of Soille, Morphological Image Analysis (2003), chapter 6.
    # skimage's own h_maxima also returns every ripple that is as high as the highest.
    lowered = reconstruction(depth - max(spacing) / 2, depth, footprint=_CORNERS)
    peaks, count = ndimage.label(
        local_maxima(lowered, connectivity=3) & (depth > 0), structure=_CORNERS
    )
    if count < 2:
        return np.zeros(count, np.int64)
    flat = np.flatnonzero(peaks)
    owner, level = peaks.reshape(-1)[flat], depth.reshape(-1)[flat]
    deepest = np.lexsort((flat, -level, owner))
    _, first = np.unique(owner[deepest], return_index=True)
    candidates = deepest[first]
    candidates = candidates[np.lexsort((flat[candidates], -level[candidates]))]
    positions = np.stack(np.unravel_index(flat[candidates], depth.shape), axis=1) * spacing
    kept: list[int] = []
    for row, position in enumerate(positions):
        gaps = np.linalg.norm(positions[kept] - position, axis=1)
        if (gaps >= distance).all():
            kept.append(row)
    return np.sort(flat[candidates[kept]])
