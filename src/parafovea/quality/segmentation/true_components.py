"""True objects of which only the classes are known: connected components, block by block."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parafovea.geometry.grid import Box, Shape
from parafovea.postprocess.segmentation.block_components import (
    Block,
    Margin,
    ReadClasses,
    Step,
    Surface,
    scan_block,
)
from parafovea.postprocess.segmentation.region_table import Table, column, first_voxels

Array = np.ndarray[Any, Any]

#: Takes a box, its classes, its labels and their offset.
Seen = Callable[[Box, Array, Array, int], None]


@dataclass(frozen=True)
class ComponentClasses(Table):
    """True class of each component.

    Parameters
    ----------
    value : (n,) int64
        Class indices.
    """

    value: Array = field(metadata=column(np.maximum, 0))


class _TrueComponents(Step[ComponentClasses]):
    """Labelling of the classes that have objects; each labelled box is shown once."""

    table = ComponentClasses

    def __init__(self, instances: Sequence[int], connectivity: int, seen: Seen) -> None:
        self.connectivity = connectivity
        self._has_objects = np.isin(np.arange(256), instances)
        self._seen = seen
        self._labels = 0

    def foreground(self, values: Array) -> Array:
        """Return what is labelled, where not 0: (z, y, x) uint8."""
        return values * self._has_objects[values]

    def measure(
        self, labels: Array, values: Array, count: int, box: Box, shape: Shape
    ) -> ComponentClasses:
        """Return the classes of the components of a box."""
        self._seen(box, values, labels, self._labels)
        self._labels += count
        return ComponentClasses(values.reshape(-1)[first_voxels(labels, count)].astype(np.int64))


def scan_true_components(
    read: ReadClasses,
    block: Block,
    *,
    instances: Sequence[int],
    connectivity: int,
    seen: Seen,
) -> tuple[Array, Surface[ComponentClasses]]:
    """Label the components of the true classes in a block.

    Parameters
    ----------
    read : callable
        Returns the true classes of a box of the volume; those that have no objects, and voxels that
        nobody has labelled, belong to no component.
    block : Block
        The block.
    instances : sequence of int
        Indices of the classes that have objects.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    seen : callable
        Is shown each tile once, with its classes and its labels (z, y, x) and their offset.

    Returns
    -------
    components : (labels + 1,) uint64
        Component of the block, from 1, of label 0 and of each label k of a tile at k + its offset.
    surface : Surface
        All components of the block, with what unites them with those of other blocks.
    """
    step = _TrueComponents(instances, connectivity, seen)
    found = scan_block(step, read, block, _read_margin(read, block))
    components = np.concatenate([[0], found.ids]).astype(np.uint64)
    return components, found.surface(complete=True)


def _read_margin(read: ReadClasses, block: Block) -> Margin:
    """Return the margin of a block, with one read for a tile: a file may be opened for each."""
    pieces = []
    for tile in block.tiles:
        boxes = [box for _, box in block.before(tile) if block.box.intersection(box) != box]
        if boxes:
            around = functools.reduce(Box.union, boxes)
            values = read(around)
            pieces += [values[box.relative_to(around.start).slices].reshape(-1) for box in boxes]
    return Margin(block, np.concatenate([np.zeros(0, np.uint8), *pieces]))
