"""Which peaks of one region are one: those with no real valley between them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from parafovea.geometry.grid import shape3

Array = np.ndarray[Any, Any]

#: One of each pair of opposite neighbours of a voxel, over faces, edges and corners.
_FORWARD = [step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]


def joined_basins(values: Array, basins: Array, heights: Array, *, max_saddle: float) -> Array:
    """Tell which basins of a flooded region belong to one peak.

    Parameters
    ----------
    values : (z, y, x) floating point
        The heatmap.
    basins : (z, y, x) int32
        Which peak each voxel was flooded from: 1 to n; 0 lies outside of the region.
    heights : (n,) float64
        Of the peaks, the highest first.
    max_saddle : float
        Peaks stay apart where the highest way between them falls below this share of the lower
        peak.

    Returns
    -------
    (n,) int64
        For each basin the index, from 0, of the highest peak that it is joined to; its own where
        it stays apart.

    Notes
    -----
    The lower peak's prominence is its height less the saddle. This is the h-maxima transform (P.
    Soille, Morphological Image Analysis, 2nd edition 2003, section 6.3.4) with an h in proportion
    to the peak, as a share of it means the same for sure and for unsure findings.
    """
    first, second, saddle = _saddles(values, basins)
    owner = np.arange(len(heights))

    def head(basin: int) -> int:
        while owner[basin] != basin:
            owner[basin] = owner[owner[basin]]
            basin = int(owner[basin])
        return basin

    # from the highest saddle down, as the water falls; equal ones in the order of the peaks
    for row in np.lexsort((second, first, -saddle)).tolist():
        high, low = sorted((head(int(first[row])), head(int(second[row]))))
        if saddle[row] >= max_saddle * heights[low]:
            owner[low] = high
    return np.array([head(basin) for basin in range(len(heights))], np.int64)


def _saddles(values: Array, basins: Array) -> tuple[Array, Array, Array]:
    """Return pairs of basins that touch, from 0, and the highest pass between them."""
    count = int(basins.max(initial=0))
    keys, passes = [np.zeros(0, np.int64)], [np.zeros(0, np.float64)]
    for step in _FORWARD:
        here, there = _shifted(shape3(basins.shape), step)
        near = (basins[here] != basins[there]) & (basins[here] > 0) & (basins[there] > 0)
        one, other = (basins[place][near].astype(np.int64) - 1 for place in (here, there))
        keys.append(np.minimum(one, other) * count + np.maximum(one, other))
        lower = np.minimum(values[here][near], values[there][near])
        passes.append(lower.astype(np.float64))
    key, level = np.concatenate(keys), np.concatenate(passes)
    order = np.lexsort((-level, key))
    found, begin = np.unique(key[order], return_index=True)
    first, second = np.divmod(found, max(count, 1))
    return first, second, level[order][begin]


def _shifted(
    shape: tuple[int, int, int], step: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the voxels that have a neighbour a step away, and these neighbours."""
    spans = [
        (slice(max(0, -s), n - max(0, s)), slice(max(0, s), n - max(0, -s)))
        for n, s in zip(shape, step, strict=True)
    ]
    return tuple(here for here, _ in spans), tuple(there for _, there in spans)
