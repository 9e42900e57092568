"""Non-maximum suppression of candidates by the overlap of spheres."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import KDTree

from parafovea.errors import GridError

Array = np.ndarray[Any, Any]


def sphere_iou(distance: Array, first: Array, second: Array) -> Array:
    """Return the intersection over union of pairs of spheres.

    Parameters
    ----------
    distance : (...) float64
        Distance between the centres.
    first, second : (...) float64
        Diameters, positive, in the same unit.

    Returns
    -------
    (...) float64
        Values in [0, 1].

    Notes
    -----
    Intersecting spheres of radii R and r share a lens of volume
    pi (R + r - d)^2 (d^2 + 2 d (r + R) - 3 (r - R)^2) / (12 d), see E. W. Weisstein,
    "Sphere-Sphere Intersection", MathWorld, equation 16.
    """
    d, large, small = np.broadcast_arrays(
        distance, np.maximum(first, second), np.minimum(first, second)
    )
    large, small = large / 2, small / 2
    # Only intersecting pairs use it, and they have d > 0.
    gap = np.where(d > 0, d, 1.0)
    lens = np.pi * (large + small - d) ** 2
    lens = lens * (d**2 + 2 * d * (large + small) - 3 * (large - small) ** 2) / (12 * gap)
    ball = 4 / 3 * np.pi
    shared = np.where(d >= large + small, 0.0, np.where(d <= large - small, ball * small**3, lens))
    return np.asarray(shared / (ball * (large**3 + small**3) - shared))


def suppress_overlaps(centres: Array, diameters: Array, *, iou_threshold: float) -> Array:
    """Return which spheres are kept if each suppresses later ones that overlap it.

    Parameters
    ----------
    centres : (n, 3) float64
        Centres in the unit of the diameters, by descending confidence.
    diameters : (n,) float64
        Diameters, positive.
    iou_threshold : float
        Maximum intersection over union of two kept spheres.

    Returns
    -------
    (n,) bool
        True for kept spheres.
    """
    if len(centres) != len(diameters):
        raise GridError(
            f"{len(centres)} centres and {len(diameters)} diameters: pass one diameter per centre"
        )
    stays = np.ones(len(centres), bool)
    if len(centres) < 2:
        return stays
    tree, widest = KDTree(centres), float(diameters.max())
    for row in range(len(centres)):
        if not stays[row]:
            continue
        reach = (diameters[row] + widest) / 2
        near = np.array(sorted(tree.query_ball_point(centres[row], reach)), np.int64)
        later = near[near > row]
        gaps = np.linalg.norm(centres[later] - centres[row], axis=1)
        overlap = sphere_iou(gaps, diameters[later], diameters[row])
        stays[later[overlap > iou_threshold]] = False
    return stays
