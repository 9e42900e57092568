"""Watershed basins: the saddles between them, and merging of basins that belong together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

#: Axes along which two neighbouring voxels may differ, by connectivity.
STEPS = {6: 1, 18: 2, 26: 3}


class Saddles(NamedTuple):
    """The highest saddle of each pair of adjacent basins, the highest first.

    Attributes
    ----------
    height : (n,) float64
        The highest value on the border: of each pair of neighbouring voxels the lower one counts.
    first, second : (n,) int64
        Indices of the two basins, from 0; `first` is smaller.
    """

    height: Array
    first: Array
    second: Array


class BasinSets:
    """Disjoint sets of basins (union-find), each represented by one of them.

    Parameters
    ----------
    count : int
        Number of basins; each starts as a set of its own.
    """

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, basin: int) -> int:
        """Return the representative of a basin's set."""
        while self._parent[basin] != basin:
            self._parent[basin] = self._parent[self._parent[basin]]
            basin = self._parent[basin]
        return basin

    def roots(self) -> list[int]:
        """Return the representative of each basin's set."""
        return [self.root(basin) for basin in range(len(self._parent))]

    def attach(self, root: int, to: int) -> None:
        """Merge the set that `root` represents into the one that `to` represents."""
        self._parent[root] = to


def merged_basins(values: Array, basins: Array, heights: Array, *, max_saddle: float) -> Array:
    """Merge the basins of a region whose peaks have no real valley between them.

    Parameters
    ----------
    values : (z, y, x) floating point
        The heatmap.
    basins : (z, y, x) int32
        Basin of each voxel, 1 to n; 0 lies outside of the region.
    heights : (n,) float64
        Heights of the peaks, the highest first.
    max_saddle : float
        Peaks stay apart where the saddle between them is below this share of the lower peak.

    Returns
    -------
    (n,) int64
        For each basin the index, from 0, of the highest peak that it is merged with; its own
        index where it stays apart.

    Notes
    -----
    The prominence of the lower peak is its height minus the saddle. This is the h-maxima transform
    (P. Soille, Morphological Image Analysis, 2nd edition 2003, section 6.3.4) with an h in
    proportion to the peak, so that one share fits confident and uncertain findings alike.
    """
    sets = BasinSets(len(heights))
    saddles = basin_saddles(values, basins)
    for saddle, first, second in zip(*(column.tolist() for column in saddles), strict=True):
        high, low = sorted((sets.root(first), sets.root(second)))
        if saddle >= max_saddle * heights[low]:
            sets.attach(low, high)
    return np.array(sets.roots(), np.int64)


def basin_saddles(values: Array, basins: Array, *, connectivity: int = 26) -> Saddles:
    """Return the saddles between adjacent basins.

    Parameters
    ----------
    values : (z, y, x) floating point
        The map whose peaks the basins belong to.
    basins : (z, y, x) int32
        Basin of each voxel, 1 to n; 0 belongs to none.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.

    Returns
    -------
    Saddles
        One for each pair of adjacent basins; those of equal height in the order of the pairs.
    """
    count = int(basins.max(initial=0))
    keys, heights = [np.zeros(0, np.int64)], [np.zeros(0, np.float64)]
    for here, there in _neighbours(connectivity):
        meets = (basins[here] != basins[there]) & (basins[here] > 0) & (basins[there] > 0)
        one, other = (basins[place][meets].astype(np.int64) - 1 for place in (here, there))
        keys.append(np.minimum(one, other) * count + np.maximum(one, other))
        lower = np.minimum(values[here][meets], values[there][meets])
        heights.append(lower.astype(np.float64))
    key, height = np.concatenate(keys), np.concatenate(heights)
    order = np.lexsort((-height, key))
    pairs, begin = np.unique(key[order], return_index=True)
    highest = height[order][begin]
    order = np.lexsort((pairs, -highest))
    first, second = np.divmod(pairs[order], max(count, 1))
    return Saddles(highest[order], first, second)


def _neighbours(connectivity: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Yield slices of all voxels with a neighbour in one direction, and of these neighbours."""
    for step in itertools.product((-1, 0, 1), repeat=3):
        # Each pair of neighbours once: only steps forward in scan order.
        if step <= (0, 0, 0) or sum(map(abs, step)) > STEPS[connectivity]:
            continue
        here = tuple(slice(max(0, -s), None if s <= 0 else -s) for s in step)
        there = tuple(slice(max(0, s), None if s >= 0 else s) for s in step)
        yield here, there
