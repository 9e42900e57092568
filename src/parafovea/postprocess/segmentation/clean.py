"""Removal of small components and filling of holes, slab by slab.

Each function first reads all slabs and then yields the changed ones in the same order, so a caller
may overwrite its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from parafovea.geometry.grid import Box
from parafovea.postprocess.segmentation.components import (
    Components,
    ComponentScan,
    ReadSlab,
    find_components,
    label_slab,
)

Array = np.ndarray[Any, Any]

_NO_CLASS = 255


def without_small(
    read: ReadSlab, boxes: Sequence[Box], min_voxels: Sequence[int], *, connectivity: int
) -> Iterator[tuple[Box, Array]]:
    """Yield the classes without small components.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) uint8 class indices of a slab.
    boxes : sequence of Box
        The slabs in z order; each spans the volume in y and x.
    min_voxels : sequence of int
        Minimum number of voxels of a component, for every class except the background.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.

    Yields
    ------
    box : Box
        A slab.
    classes : (z, y, x) uint8
        Its class indices; removed voxels are background.
    """
    found = find_components(read, boxes, connectivity)
    least = np.array([0, *min_voxels])[found.table.value]
    keep = np.concatenate([[False], found.table.voxels >= least])
    for index, box in enumerate(boxes):
        classes = read(box)
        labels, _ = label_slab(classes, connectivity)
        yield box, np.where(keep[found.lookup(index)][labels], classes, 0).astype(np.uint8)


def with_filled_holes(
    read: ReadSlab, boxes: Sequence[Box], fills: Sequence[bool], *, connectivity: int
) -> Iterator[tuple[Box, Array]]:
    """Yield the classes with their holes filled.

    A hole is a component of the background that does not touch the volume's border and whose face
    neighbours all have the same class. It gets that class, if filling is on for the class. The
    background has face connectivity if classes have edge or corner connectivity, and corner
    connectivity if classes have face connectivity, so that a closed surface separates its inside.
    An axis of a single voxel has no border: a single plane is filled in 2D.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) uint8 class indices of a slab.
    boxes : sequence of Box
        The slabs in z order; each spans the volume in y and x.
    fills : sequence of bool
        Whether holes in a class are filled, for every class except the background.
    connectivity : {6, 18, 26}
        Neighbours of a voxel within a class.

    Yields
    ------
    box : Box
        A slab.
    classes : (z, y, x) uint8
        Its class indices.
    """
    outside = 26 if connectivity == 6 else 6
    found, filling = _find_holes(read, boxes, np.array([False, *fills]), outside)
    for index, box in enumerate(boxes):
        classes = read(box)
        labels, _ = label_slab(classes == 0, outside)
        yield box, classes | filling[found.lookup(index)][labels]


def _find_holes(
    read: ReadSlab, boxes: Sequence[Box], fills: Array, connectivity: int
) -> tuple[Components, Array]:
    """Return the background's components and the class that fills each, from entry 1."""
    scan = ComponentScan(connectivity)
    touching: list[Array] = []
    last: tuple[Array, Array] | None = None
    for box in boxes:
        classes = read(box)
        labels, offset = scan.add((classes == 0).astype(np.uint8))
        shift = np.array([offset, 0])
        touching += [_touching(labels, classes, axis) + shift for axis in range(3)]
        # The face to the previous slab: its last plane and the first plane of this one.
        front = np.where(labels[0] > 0, labels[0].astype(np.int64) + offset, 0)
        if last is not None:
            face = np.stack([last[0], front]), np.stack([last[1], classes[0]])
            touching.append(_touching(*face, axis=0))
        back = np.where(labels[-1] > 0, labels[-1].astype(np.int64) + offset, 0)
        last = back, classes[-1]
    found = scan.finish()
    table = found.table
    lowest = np.full(len(table), _NO_CLASS)
    highest = np.zeros(len(table), np.int64)
    for pairs in touching:
        component = found.ids[pairs[:, 0] - 1] - 1
        np.minimum.at(lowest, component, pairs[:, 1])
        np.maximum.at(highest, component, pairs[:, 1])
    shape = np.array([boxes[-1].stop[0], *boxes[-1].shape[1:]])
    at_border = ((table.start == 0) | (table.stop == shape)) & (shape > 1)
    is_hole = (lowest == highest) & fills[highest] & ~at_border.any(axis=1)
    return found, np.concatenate([[0], np.where(is_hole, highest, 0)]).astype(np.uint8)


def _touching(numbers: Array, classes: Array, axis: int) -> Array:
    """Return pairs of background label and adjacent class along an axis: (n, 2) int64."""
    before = [slice(None)] * 3
    after = [slice(None)] * 3
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    found = []
    for here, there in ((before, after), (after, before)):
        number, neighbour = numbers[tuple(here)], classes[tuple(there)]
        touches = (number > 0) & (neighbour > 0)
        # One sortable key for the pair; classes are below 256.
        found.append(number[touches].astype(np.int64) * 256 + neighbour[touches])
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs // 256, pairs % 256], axis=1)
