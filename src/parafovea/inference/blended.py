"""Windows of an array in memory, blended there."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from parafovea.blending import normalized
from parafovea.grid import Box
from parafovea.inference.engine import weighed
from parafovea.windows import Layout


def blended(
    windows: Iterable[tuple[Box, NDArray[np.float32]]],
    layout: Layout,
    weights: NDArray[np.int64],
    *,
    classes: int,
) -> NDArray[np.float32]:
    """Return the weighted means of all windows' values, summed in fixed point.

    Parameters
    ----------
    windows : iterable of (Box, ndarray)
        Every window of the layout once, in any order, with its (class, z, y, x) float32, 0 to 1.
    layout : Layout
        The windows.
    weights : ndarray
        (z, y, x) int64, the fixed-point importance map of a window.
    classes : int
        Of the values.

    Returns
    -------
    ndarray
        (class, z, y, x) float32. Where planes or volumes are of one window each, its values.
    """
    volume = Box.whole(layout.shape)
    if not _overlapping(layout):
        result = np.empty((classes, *layout.shape), np.float32)
        for box, values in windows:
            inside = box.intersection(volume)
            place = (slice(None), *inside.relative_to(box.start).slices)
            result[(slice(None), *inside.slices)] = values[place]
        return result
    total = np.zeros(layout.shape, dtype=np.int64)
    sums = np.zeros((classes, *layout.shape), dtype=np.int64)
    for box, values in windows:
        inside, weighted = weighed(box, values, weights, volume)
        sums[(slice(None), *inside.slices)] += weighted
        total[inside.slices] += weights[inside.relative_to(box.start).slices]
    means: NDArray[np.float32] = normalized(sums, total, np.float32)
    return means


def _overlapping(layout: Layout) -> bool:
    """Tell whether two windows share a voxel."""
    return any(
        second < first + window
        for starts, window in zip(layout.starts, layout.window, strict=True)
        for first, second in pairwise(starts)
    )
