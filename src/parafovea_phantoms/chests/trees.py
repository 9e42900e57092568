"""Trees that fill a region: each branch grows to the middle of what is left to reach, and forks.

The method is that of Tawhai, Pullan and Hunter (Ann Biomed Eng 28, 2000, 793-802) for the
airways: points spread evenly over a lobe are divided in two at each fork, until a branch serves
one point. The radius follows from the number of points served.
"""

from __future__ import annotations

import math

import numpy as np

from parafovea_phantoms.chests.frame import Points
from parafovea_phantoms.chests.tubes import Tubes

#: Share of the way to the middle of its points that a branch grows before it forks.
FORWARD = 0.4

#: Parent and children agree in radius^MURRAY, which lies between 2.3 and 3 in lungs.
MURRAY = 2.7

#: How many directions are tried for the plane that divides the points of a fork.
DIRECTIONS = 6


def grow(rng: np.random.Generator, root: Points, points: Points, *, tip: float) -> Tubes:
    """Return a tree that reaches from a root to all points.

    Parameters
    ----------
    rng : Generator
        Of this tree.
    root : ndarray
        (3,) z, y, x where it begins, in millimetres.
    points : ndarray
        (n, 3) what it serves.
    tip : float
        Radius of a branch that serves one point, in millimetres.

    Returns
    -------
    Tubes
        Two pieces a branch, a little bent; a branch begins as wide as its parent and narrows.
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
    """Return how many times as wide as a tip a branch is that serves `count` points."""
    return float(max(count, 1) ** (1 / MURRAY))


def _divide(
    rng: np.random.Generator, relative: Points, along: Points
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return on which side of the fork's plane each point lies; both sides have some.

    The plane holds the branch; of some planes the one across the widest spread is taken.
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
