"""Connected components of a volume that is read one slab of planes at a time.

Each slab is labelled by itself (cc3d); labels that touch across the face between two slabs are
merged. A second pass over the slabs, in the same order, gives each voxel its component.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from parafovea.geometry.grid import Box, shape3
from parafovea.postprocess.segmentation.region_table import (
    RegionTable,
    measure_regions,
)
from parafovea.storage.blocks import SLAB_PLANES

Array = np.ndarray[Any, Any]
#: Reads the (z, y, x) uint8 values of a slab; voxels of 0 belong to no component.
ReadSlab = Callable[[Box], Array]


def slabs(shape: Sequence[int], planes: int = SLAB_PLANES) -> list[Box]:
    """Return the slabs of a volume of this shape (z, y, x), in z order."""
    return list(Box.whole(shape).tiles((planes, *shape3(shape)[1:])))


def label_box(values: Array, connectivity: int) -> tuple[Array, int]:
    """Label the components of equal, non-zero values in one box.

    Parameters
    ----------
    values : (z, y, x) uint8
        Voxels of different values are never connected; 0 is background.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.

    Returns
    -------
    labels : (z, y, x) uint16 or uint32
        Components 1 to `count`; 0 is background.
    count : int
        Number of components.
    """
    contiguous = np.ascontiguousarray(values, dtype=np.uint8)
    labels, count = cc3d.connected_components(contiguous, connectivity=connectivity, return_N=True)
    return np.asarray(labels), int(count)


@dataclass(frozen=True)
class Components:
    """The components of a whole volume, numbered 1..n by their first voxel in z, y, x order.

    Parameters
    ----------
    ids : (m,) int64
        Component of each slab-wise label, concatenated over the slabs.
    offsets : tuple of int
        Offset of each slab's labels in `ids`, and the total number at the end.
    table : RegionTable
        Row i describes component i + 1.
    """

    ids: Array
    offsets: tuple[int, ...]
    table: RegionTable

    def lookup(self, slab: int) -> Array:
        """Return the component of each label of a slab, 0 for 0: (labels + 1,) int64."""
        return np.concatenate([[0], self.ids[self.offsets[slab] : self.offsets[slab + 1]]])


class ComponentScan:
    """Incremental labelling of components over consecutive slabs.

    Parameters
    ----------
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    """

    def __init__(self, connectivity: int) -> None:
        self.connectivity = connectivity
        self._offsets = [0]
        self._tables: list[RegionTable] = []
        self._links: list[Array] = []
        self._planes = 0
        self._last: tuple[Array, Array] | None = None

    def add(self, values: Array) -> tuple[Array, int]:
        """Add the next slab and return its labels and their offset.

        Parameters
        ----------
        values : (z, y, x) uint8
            See `label_box`; the slab spans the volume in y and x.

        Returns
        -------
        labels : (z, y, x) unsigned integer
            See `label_box`.
        offset : int
            Label k of this slab is entry ``offset + k - 1`` of `Components.ids`.
        """
        labels, count = label_box(values, self.connectivity)
        offset = self._offsets[-1]
        box = Box.sized((self._planes, 0, 0), values.shape)
        found = measure_regions(labels, values, count=count, box=box, shape=values.shape)
        self._tables.append(found)
        if self._last is not None:
            before = self._offsets[-2]
            pairs = _face_pairs(*self._last, labels[0], values[0], self.connectivity)
            self._links.append(pairs + np.array([before - 1, offset - 1]))
        self._last = labels[-1].copy(), values[-1].copy()
        self._offsets.append(offset + count)
        self._planes += len(values)
        return labels, offset

    def finish(self) -> Components:
        """Merge labels connected across slabs and return the volume's components."""
        total = self._offsets[-1]
        links = np.concatenate([np.zeros((0, 2), np.int64), *self._links])
        graph = coo_array(
            (np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), (total, total)
        )
        count, group = connected_components(graph, directed=False) if total else (0, links[:, 0])
        united = RegionTable.joined(self._tables).grouped(group, count)
        order = np.argsort(united.first, kind="stable")
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(1, count + 1)
        return Components(rank[group], tuple(self._offsets), united.take(order))


def find_components(read: ReadSlab, boxes: Sequence[Box], connectivity: int) -> Components:
    """Return the components of a volume that is read slab by slab.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) uint8 values of a slab; 0 is background.
    boxes : sequence of Box
        The slabs in z order; each spans the volume in y and x.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    """
    scan = ComponentScan(connectivity)
    for box in boxes:
        scan.add(read(box))
    return scan.finish()


def _face_pairs(
    labels_before: Array, values_before: Array, labels: Array, values: Array, connectivity: int
) -> Array:
    """Return pairs of labels that touch across the face between two slabs: (n, 2) int64."""
    reach = {6: 0, 18: 1, 26: 2}[connectivity]
    height, width = labels.shape
    base = int(labels.max()) + 1
    found = [np.zeros(0, np.int64)]
    for dy, dx in itertools.product((-1, 0, 1), repeat=2):
        if abs(dy) + abs(dx) > reach:
            continue
        there = (slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx)))
        here = (slice(max(0, -dy), height + min(0, -dy)), slice(max(0, -dx), width + min(0, -dx)))
        same = (values_before[here] == values[there]) & (values[there] > 0)
        # One sortable key for the pair.
        found.append(labels_before[here][same].astype(np.int64) * base + labels[there][same])
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs // base, pairs % base], axis=1)
