"""Space-filling vascular and bronchial trees.

The method of Tawhai, Pullan and Hunter (Ann Biomed Eng 28, 2000, 793-802) for the airways: points
distributed evenly over a lobe are divided in two at each bifurcation, until a branch supplies one
point; each branch grows towards the centroid of its points. The radius depends on the number of
points supplied.
"""

from __future__ import annotations

import math

import numpy as np

from parafovea_phantoms.chests.frame import Points
from parafovea_phantoms.chests.tubes import Tubes

#: Length of a branch, as a share of the distance to the centroid of its points.
FORWARD = 0.4

#: Exponent of Murray's law: radius^MURRAY is conserved at a bifurcation; 2.3 to 3 in lungs.
MURRAY = 2.7

#: Number of directions to try for the plane that divides the points at a bifurcation.
DIRECTIONS = 6


def grow(rng: np.random.Generator, root: Points, points: Points, *, tip: float) -> Tubes:
    """Grow a tree from a root to all points.

    Parameters
    ----------
    rng : Generator
        Random generator of this tree.
    root : ndarray
        (3,) z, y, x of the root, in millimetres.
    points : ndarray
        (n, 3) z, y, x of the points to supply, in millimetres.
    tip : float
        Radius of a branch that supplies one point, in millimetres.

    Returns
    -------
    Tubes
        Two slightly bent pieces per branch, which starts with the radius of its parent and tapers.
    """
    begins, ends, firsts, lasts = [], [], [], []
    wide = tip * _widening(len(points))
    left = [(np.asarray(root, dtype=np.float64), points, wide)]
    while left:
        start, served, width = left.pop()
        count = len(served)
        if count == 0:
            continue
        middle = served.mean(axis=0)
        end = middle if count == 1 else start + FORWARD * (middle - start)
        along = end - start
        length = math.sqrt(float(along @ along))
        if length < 1e-3:
            end, along, length = start + 1e-3, np.full(3, 1e-3), 1.8e-3
        radius = tip * _widening(count)
        bend = start + 0.5 * along + 0.07 * length * rng.uniform(-1, 1, size=3)
        between = (0.4 * min(width, 1.25 * radius)) + 0.6 * radius
        begins += [start, bend]
        ends += [bend, end]
        firsts += [min(width, 1.25 * radius), between]
        lasts += [between, radius]
        if count > 1:
            side = _divide(rng, served - middle, along / length)
            left += [(end, half, radius) for half in (served[side], served[~side])]
    if not begins:
        return Tubes.together([])
    return Tubes(np.array(begins), np.array(ends), np.array(firsts), np.array(lasts))


def _widening(count: int) -> float:
    """Return the radius of a branch that supplies `count` points, relative to a tip."""
    return float(max(count, 1) ** (1 / MURRAY))


def _divide(
    rng: np.random.Generator, relative: Points, along: Points
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return the side of the dividing plane of each point; both sides have points.

    The plane contains the branch; of several planes, the one across the widest spread is chosen.
    """
    across = rng.uniform(-1, 1, size=(DIRECTIONS, 3))
    across -= (across @ along)[:, None] * along
    across /= np.sqrt((across * across).sum(axis=1, keepdims=True)) + 1e-9
    heights = relative @ across.T
    best = int((heights * heights).mean(axis=0).argmax())
    side = heights[:, best] > 0
    if side.all() or not side.any():
        side = np.arange(len(relative)) < len(relative) // 2
    return np.asarray(side)
