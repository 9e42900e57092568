"""Splitting of touching objects by watershed on the distance to their surface.

Every local maximum of the distance first makes a basin of its own. Basins are then united over
the saddles between them, the highest first, where they are no pieces in their own right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

Array = np.ndarray[Any, Any]

#: Axes along which two neighbours may differ, by connectivity.
_STEPS = {6: 1, 18: 2, 26: 3}


def split_object(
    mask: Array,
    *,
    spacing: Sequence[float],
    distance: float,
    min_voxels: int = 0,
    connectivity: int = 26,
) -> Array:
    """Divide one object into pieces around the places that lie deepest within it.

    Two touching pieces are united if the shallower of their centres rises above the saddle
    between them by less than half of the coarsest voxel (smaller ripples are an effect of the
    voxels; this is the dynamics of a maximum, Grimaud, SPIE 1769, 1992), if their centres are
    closer than `distance`, or if one of them is too small. Nothing is random.

    Parameters
    ----------
    mask : (z, y, x) bool
        One object, with a margin of a voxel wherever the volume goes on.
    spacing : sequence of float
        Distance between voxel centres along z, y, x, in world units.
    distance : float
        Least distance between the centres of two touching pieces, in world units.
    min_voxels : int
        Smaller pieces are left to a neighbour.
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
    structure = ndimage.generate_binary_structure(3, _STEPS[connectivity])
    peaks = local_maxima(depth, footprint=structure) & mask
    seeds, count = ndimage.label(peaks, structure=structure)
    if count < 2:
        return whole
    basins = watershed(-depth, seeds, connectivity=structure, mask=mask)
    # The centre of a basin is the first voxel of its maximum; basins are numbered in that order.
    flat = np.flatnonzero(seeds)
    _, first = np.unique(seeds.reshape(-1)[flat], return_index=True)
    centres = flat[first]
    merging = _Merging(
        height=depth.reshape(-1)[centres],
        centre=np.stack(np.unravel_index(centres, depth.shape), axis=1) * np.array(spacing),
        size=np.bincount(basins.reshape(-1), minlength=count + 1)[1:],
    )
    saddles = _saddles(depth, basins, connectivity)
    merging.unite(saddles, rise=max(spacing) / 2)
    while merging.unite(saddles, distance=distance, min_voxels=min_voxels):
        pass
    _, names = np.unique(merging.roots(), return_inverse=True)
    lookup = np.concatenate([[0], names + 1]).astype(np.int32)
    return np.asarray(lookup[basins])


class _Merging:
    """Basins that become one, each known by its deepest: a union-find.

    Parameters
    ----------
    height : (n,) float64
        Distance to the surface at each basin's centre.
    centre : (n, 3) float64
        World position of each basin's centre along z, y, x.
    size : (n,) int64
        Voxels of each basin.
    """

    def __init__(self, height: Array, centre: Array, size: Array) -> None:
        self._height = height.tolist()
        self._centre = centre
        self._size = size.tolist()
        self._parent = list(range(len(height)))

    def root(self, basin: int) -> int:
        """Return the basin that stands for all that this one is united with."""
        while self._parent[basin] != basin:
            self._parent[basin] = self._parent[self._parent[basin]]
            basin = self._parent[basin]
        return basin

    def roots(self) -> list[int]:
        """Return the root of each basin."""
        return [self.root(basin) for basin in range(len(self._parent))]

    def unite(
        self,
        saddles: Sequence[tuple[float, int, int]],
        *,
        rise: float = 0.0,
        distance: float = 0.0,
        min_voxels: int = 0,
    ) -> bool:
        """Go over the saddles once, unite what does not stand apart, and tell whether any did.

        Parameters
        ----------
        saddles : sequence of (float, int, int)
            Height of a saddle and the two basins that meet there, the highest first.
        rise : float
            Least height of the shallower centre above the saddle.
        distance : float
            Least distance of the centres.
        min_voxels : int
            Least size of both.
        """
        changed = False
        for saddle, one, other in saddles:
            # Of two equally deep the earlier one stays.
            keeps, joins = sorted(
                (self.root(one), self.root(other)), key=lambda b: (-self._height[b], b)
            )
            if keeps == joins:
                continue
            gap = float(np.linalg.norm(self._centre[keeps] - self._centre[joins]))
            if (
                self._height[joins] - saddle < rise
                or gap < distance
                or min(self._size[keeps], self._size[joins]) < min_voxels
            ):
                self._parent[joins] = keeps
                self._size[keeps] += self._size[joins]
                changed = True
        return changed


def _saddles(depth: Array, basins: Array, connectivity: int) -> list[tuple[float, int, int]]:
    """Return the highest saddle of every two basins that touch, the highest first."""
    count = int(basins.max()) + 1
    keys, heights = [np.zeros(0, np.int64)], [np.zeros(0)]
    for here, there in _neighbours(connectivity):
        one, other = basins[here], basins[there]
        meets = (one != other) & (one > 0) & (other > 0)
        first, second = one[meets].astype(np.int64), other[meets].astype(np.int64)
        keys.append(np.minimum(first, second) * count + np.maximum(first, second))
        heights.append(np.minimum(depth[here][meets], depth[there][meets]))
    key, height = np.concatenate(keys), np.concatenate(heights)
    order = np.lexsort((-height, key))
    pairs, first = np.unique(key[order], return_index=True)
    highest = height[order][first]
    order = np.lexsort((pairs, -highest))
    pairs, highest = pairs[order], highest[order]
    one, other = pairs // count - 1, pairs % count - 1
    return list(zip(highest.tolist(), one.tolist(), other.tolist(), strict=True))


def _neighbours(connectivity: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Yield the slices of all voxels with a neighbour in one direction, and of these."""
    for step in itertools.product((-1, 0, 1), repeat=3):
        # Each pair of neighbours once: only steps forward in scan order.
        if step <= (0, 0, 0) or sum(map(abs, step)) > _STEPS[connectivity]:
            continue
        here = tuple(slice(max(0, -s), None if s <= 0 else -s) for s in step)
        there = tuple(slice(max(0, s), None if s >= 0 else s) for s in step)
        yield here, there
