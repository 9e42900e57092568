"""Removal of small components and filling of holes, in blocks of a volume."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from parafovea.geometry.grid import Box, Shape
from parafovea.postprocess.segmentation.block_components import (
    Block,
    BlockComponents,
    Margin,
    ReadClasses,
    Step,
)
from parafovea.postprocess.segmentation.region_table import Table, column, count_voxels

Array = np.ndarray[Any, Any]
T = TypeVar("T", bound=Table)

_NO_CLASS = 255


class Cleaning(Step[T]):
    """A change of the classes of whole components."""

    @abstractmethod
    def decide(self, table: T) -> Array:
        """Return the new class of each component: (n,) uint8."""

    @abstractmethod
    def changed(self, values: Array, decided: Array) -> Array:
        """Return the new classes of voxels, from the new class of each one's component."""


@dataclass(frozen=True)
class SizeTable(Table):
    """Sizes of components.

    Parameters
    ----------
    value : (n,) uint8
        Class of each component.
    voxels : (n,) int64
        Number of voxels.
    """

    value: Array = field(metadata=column(np.maximum, 0, dtype=np.uint8))
    voxels: Array = field(metadata=column(np.add, 0))


@dataclass(frozen=True)
class SmallComponents(Cleaning[SizeTable]):
    """Removal of components with few voxels; they become background.

    Parameters
    ----------
    min_voxels : sequence of int
        Minimum number of voxels of a component, for every class except the background.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    """

    min_voxels: Sequence[int]
    connectivity: int
    table: type[SizeTable] = SizeTable

    def foreground(self, values: Array) -> Array:
        """Return what is labelled, where not 0: (z, y, x) uint8."""
        return values

    def measure(
        self, labels: Array, values: Array, count: int, box: Box, shape: Shape
    ) -> SizeTable:
        """Return the measurements of a box."""
        value = np.zeros(count + 1, np.uint8)
        value[labels] = values
        return SizeTable(value[1:], count_voxels(labels, count))

    def decide(self, table: SizeTable) -> Array:
        """Return the new class of each component: (n,) uint8."""
        least = np.array([0, *self.min_voxels])[table.value]
        return np.where(table.voxels >= least, table.value, 0).astype(np.uint8)

    def changed(self, values: Array, decided: Array) -> Array:
        """Return the new classes of voxels."""
        return decided


@dataclass(frozen=True)
class HoleTable(Table):
    """What surrounds components of the background.

    Parameters
    ----------
    lowest, highest : (n,) uint8
        First and last of the classes of their face neighbours; 255 and 0 without any.
    at_border : (n,) uint8
        1 for those that touch the volume's border.
    """

    lowest: Array = field(metadata=column(np.minimum, _NO_CLASS, dtype=np.uint8))
    highest: Array = field(metadata=column(np.maximum, 0, dtype=np.uint8))
    at_border: Array = field(metadata=column(np.maximum, 0, dtype=np.uint8))


@dataclass(frozen=True)
class Holes(Cleaning[HoleTable]):
    """Filling of holes.

    A hole is a component of the background that does not touch the volume's border and whose face
    neighbours all have the same class. It gets that class, if filling is on for the class. The
    background has face connectivity if classes have edge or corner connectivity, and corner
    connectivity if classes have face connectivity, so that a closed surface separates its inside.
    An axis of a single voxel has no border: a single plane is filled in 2D.

    Parameters
    ----------
    fills : sequence of bool
        Whether holes in a class are filled, for every class except the background.
    connectivity : {6, 26}
        Neighbours of a voxel within the background: see `Holes.around`.
    """

    fills: Sequence[bool]
    connectivity: int
    table: type[HoleTable] = HoleTable

    @classmethod
    def around(cls, fills: Sequence[bool], *, connectivity: int) -> Holes:
        """Return the step for classes with a connectivity of 6, 18 or 26."""
        return cls(fills, 26 if connectivity == 6 else 6)

    def foreground(self, values: Array) -> Array:
        """Return what is labelled, where not 0: (z, y, x) uint8."""
        return np.asarray((values == 0).view(np.uint8))

    def measure(
        self, labels: Array, values: Array, count: int, box: Box, shape: Shape
    ) -> HoleTable:
        """Return the measurements of a box."""
        table = HoleTable.neutral(count + 1)
        for axis in range(3):
            before = [slice(None)] * 3
            after = [slice(None)] * 3
            before[axis], after[axis] = slice(None, -1), slice(1, None)
            for here, there in ((before, after), (after, before)):
                _add_contacts(table, labels[tuple(here)], values[tuple(there)])
            if shape[axis] > 1 and box.start[axis] == 0:
                table.at_border[labels.take(0, axis)] = 1
            if shape[axis] > 1 and box.stop[axis] == shape[axis]:
                table.at_border[labels.take(-1, axis)] = 1
        return table.take(np.arange(1, count + 1))

    def contacts(self, labels: Array, values: Array) -> tuple[Array, HoleTable]:
        """Return what labels have from the classes of face neighbours in another tile."""
        table = HoleTable.neutral(int(labels.max(initial=0)) + 1)
        _add_contacts(table, labels, values)
        met = np.flatnonzero(table.highest)
        met = met[met > 0]
        return met, table.take(met)

    def decide(self, table: HoleTable) -> Array:
        """Return the new class of each component: (n,) uint8."""
        fills = np.array([False, *self.fills])
        is_hole = (table.lowest == table.highest) & fills[table.highest] & (table.at_border == 0)
        return np.where(is_hole, table.highest, 0).astype(np.uint8)

    def changed(self, values: Array, decided: Array) -> Array:
        """Return the new classes of voxels."""
        return np.asarray(values | decided)


def _add_contacts(table: HoleTable, labels: Array, values: Array) -> None:
    """Add the classes of neighbours, voxel by voxel, to the rows of labels."""
    touches = np.flatnonzero((labels > 0) & (values > 0))
    number, neighbour = labels.reshape(-1)[touches], values.reshape(-1)[touches]
    np.minimum.at(table.lowest, number, neighbour)
    np.maximum.at(table.highest, number, neighbour)


@dataclass(frozen=True)
class Decided:
    """The new class of each component of a block.

    Parameters
    ----------
    step : Cleaning
        What was scanned for.
    components : BlockComponents
        The components of the block.
    classes : (n + 1,) uint8
        The new class of each component, from entry 1.
    """

    step: Cleaning[Any]
    components: BlockComponents[Any]
    classes: Array

    @classmethod
    def of(
        cls, step: Cleaning[T], components: BlockComponents[T], united: Array | None = None
    ) -> Decided:
        """Return the decision; `united` is that of the open components, with all blocks known."""
        classes = np.concatenate([[0], step.decide(components.table)]).astype(np.uint8)
        if united is not None:
            classes[components.open + 1] = united
        return cls(step, components, classes)

    def cleaned(self, block: Block, read: ReadClasses) -> Iterator[tuple[Box, Array]]:
        """Yield the tiles of a block with their new classes, each read before it is yielded."""
        for place, tile in enumerate(block.tiles):
            yield tile, self._changed(read(tile), place)

    def cleaned_margin(self, block: Block, margin: Margin) -> Margin:
        """Return the margin with its new classes."""
        tiles = len(block.tiles)
        pieces = [
            self._changed(piece, tiles + place).reshape(-1)
            for place, piece in enumerate(margin.pieces)
        ]
        return Margin(block, np.concatenate([np.zeros(0, np.uint8), *pieces]))

    def _changed(self, values: Array, place: int) -> Array:
        labels, _ = self.step.label(values)
        decided = self.classes[self.components.lookup(place)]
        return np.asarray(self.step.changed(values, decided[labels]))
