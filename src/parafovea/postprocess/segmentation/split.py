"""Splitting of touching objects by watershed on the distance to their surface.

Each local maximum of the distance first gets a basin of its own. Basins that do not stand apart are
then merged over the saddles between them, the highest saddle first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

from parafovea.geometry.grid import Box, Vector, shape3
from parafovea.postprocess.basins import STEPS, BasinSets, Saddles, basin_saddles
from parafovea.postprocess.segmentation.block_components import ReadClasses
from parafovea.postprocess.segmentation.components import label_box
from parafovea.postprocess.segmentation.objects import Pieces, split_distances
from parafovea.postprocess.segmentation.region_table import RegionTable, measure_regions
from parafovea.settings.postprocess import ClassSettings

Array = np.ndarray[Any, Any]


class Voxels(Protocol):
    """An array (z, y, x) that is read and written in parts, of NumPy or Zarr."""

    def __getitem__(self, index: Any, /) -> Any: ...

    def __setitem__(self, index: Any, value: Any, /) -> None: ...


def split_wholes(
    table: RegionTable,
    rows: Array,
    read: ReadClasses,
    target: Voxels,
    *,
    shape: Sequence[int],
    spacing: Vector,
    settings: Sequence[ClassSettings],
    connectivity: int,
) -> Pieces:
    """Split objects, each within its own box.

    Parameters
    ----------
    table : RegionTable
        The objects to split.
    rows : (n,) int64
        Their rows in `Wholes.table`, increasing.
    read : callable
        Returns the classes of a box of the volume.
    target : array (z, y, x) unsigned integer
        Receives the number of the piece, from 1, of each voxel of an object that has several.
    shape : sequence of int
        Shape of the volume along z, y, x.
    spacing : tuple of float
        Distance between voxel centres along z, y, x.
    settings : sequence of ClassSettings
        Settings of every class except the background.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.

    Returns
    -------
    Pieces
        Of the objects that have several.
    """
    owners, tables = [np.zeros(0, np.int64)], []
    whole, distances = Box.whole(shape), [math.inf, *split_distances(settings)]
    for number, row in enumerate(rows):
        value = int(table.value[number])
        box = Box(shape3(table.start[number]), shape3(table.stop[number]))
        wider = box.expanded((1, 1, 1)).intersection(whole)
        # An object is connected within its own box.
        labels, _ = label_box(read(wider) == value, connectivity)
        first = np.unravel_index(int(table.first[number]), tuple(shape))
        at = tuple(int(i) - start for i, start in zip(first, wider.start, strict=True))
        mask = labels == labels[at]
        pieces = split_object(
            mask,
            spacing=spacing,
            distance=distances[value],
            min_voxels=settings[value - 1].min_voxels,
            connectivity=connectivity,
        )
        count = int(pieces.max())
        if count < 2:
            continue
        there = np.asarray(target[wider.slices])
        target[wider.slices] = np.where(mask, pieces, there).astype(there.dtype)
        owners.append(np.full(count, row))
        values = np.where(mask, value, 0)
        tables.append(measure_regions(pieces, values, count=count, box=wider, shape=shape))
    return Pieces(np.concatenate(owners), RegionTable.joined(tables))


def split_object(
    mask: Array,
    *,
    spacing: Sequence[float],
    distance: float,
    min_voxels: int = 0,
    connectivity: int = 26,
) -> Array:
    """Split one object into pieces around its deepest points.

    Two touching pieces are merged if the shallower of their centres rises above the saddle
    between them by less than half of the coarsest voxel (smaller ripples are an effect of the
    voxel grid; this is the dynamics of a maximum, Grimaud, SPIE 1769, 1992), if their centres are
    closer than `distance`, or if one of them is too small. The result is deterministic.

    Parameters
    ----------
    mask : (z, y, x) bool
        One object, with a margin of one voxel except at the border of the volume.
    spacing : sequence of float
        Distance between voxel centres along z, y, x, in world units.
    distance : float
        Minimum distance between the centres of two touching pieces, in world units.
    min_voxels : int
        Smaller pieces are merged with a neighbour.
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
    structure = ndimage.generate_binary_structure(3, STEPS[connectivity])
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
    saddles = basin_saddles(depth, basins, connectivity=connectivity)
    merging.merge(saddles, rise=max(spacing) / 2)
    while merging.merge(saddles, distance=distance, min_voxels=min_voxels):
        pass
    _, names = np.unique(merging.sets.roots(), return_inverse=True)
    lookup = np.concatenate([[0], names + 1]).astype(np.int32)
    return np.asarray(lookup[basins])


class _Merging:
    """Basins that are merged pair by pair; the deepest one represents each set.

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
        self.sets = BasinSets(len(height))

    def merge(
        self,
        saddles: Saddles,
        *,
        rise: float = 0.0,
        distance: float = 0.0,
        min_voxels: int = 0,
    ) -> bool:
        """Go over the saddles once, merge what does not stand apart; return whether any did.

        Parameters
        ----------
        saddles : Saddles
            Between the basins.
        rise : float
            Minimum height of the shallower centre above the saddle.
        distance : float
            Minimum distance of the centres.
        min_voxels : int
            Minimum size of both, in voxels.
        """
        changed = False
        for saddle, one, other in zip(*(column.tolist() for column in saddles), strict=True):
            # Of two equally deep basins the first one is kept.
            keeps, joins = sorted(
                (self.sets.root(one), self.sets.root(other)), key=lambda b: (-self._height[b], b)
            )
            if keeps == joins:
                continue
            gap = float(np.linalg.norm(self._centre[keeps] - self._centre[joins]))
            if (
                self._height[joins] - saddle < rise
                or gap < distance
                or min(self._size[keeps], self._size[joins]) < min_voxels
            ):
                self.sets.attach(joins, keeps)
                self._size[keeps] += self._size[joins]
                changed = True
        return changed
