"""Connected components of a volume that is divided into blocks, and blocks into tiles.

Each tile is labelled by itself (cc3d). Two tiles touch in thin strips: a face, an edge or a corner
of each. The tile that comes later in scan order looks at the strip of the earlier one and
finds which of its own labels touch which pieces of that strip. Both tiles name a piece by the
position of its first voxel in the volume, so that it takes a table of positions to unite them, and
a block needs no more of its neighbours than a margin of one voxel.

Within a block, labels are united at once. What concerns other blocks, the `Surface`, is small;
`unite` merges those of all blocks. The components of the whole volume, and all that is measured of
them, do not depend on tiles or blocks.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from parafovea.geometry.grid import Box, Shape, shape3
from parafovea.postprocess.segmentation.components import label_box
from parafovea.postprocess.segmentation.region_table import Table, first_voxels, positions

Array = np.ndarray[Any, Any]
T = TypeVar("T", bound=Table)
#: Reads the (z, y, x) uint8 class indices of a box.
ReadClasses = Callable[[Box], Array]

#: Directions towards the neighbours that come before a tile in scan order.
_BEFORE = tuple(shape3(d) for d in itertools.product((-1, 0, 1), repeat=3) if d < (0, 0, 0))
#: Axes along which two neighbouring voxels may differ.
_ORDER = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True)
class Block:
    """A block of a volume: whole tiles of a regular division of the volume.

    Parameters
    ----------
    box : Box
        The block's voxels; may be empty.
    shape : tuple of int
        Shape of the volume along z, y, x.
    tile : tuple of int
        Shape of a tile along z, y, x; those at the end of the volume may be smaller.
    """

    box: Box
    shape: Shape
    tile: Shape

    @property
    def tiles(self) -> list[Box]:
        """The tiles, in scan order."""
        return list(self.box.tiles(self.tile)) if self.box.size else []

    @property
    def margin(self) -> list[Box]:
        """Strips of earlier tiles in other blocks that tiles of this one touch; they may overlap.

        Of each tile, in the order of the tiles.
        """
        return [
            piece
            for tile in self.tiles
            for _, piece in self.before(tile)
            if not _holds(self.box, piece)
        ]

    def before(self, tile: Box) -> Iterator[tuple[Shape, Box]]:
        """Yield the direction and the strip of each earlier tile that touches one."""
        for direction in _BEFORE:
            piece = _strip(tile, direction).shifted(direction)
            if _holds(Box.whole(self.shape), piece):
                yield direction, piece


class Margin:
    """The classes of a block's margin.

    Parameters
    ----------
    block : Block
        The block.
    values : (n,) uint8
        The classes of the pieces of `Block.margin`, one after the other.
    """

    def __init__(self, block: Block, values: Array) -> None:
        self.boxes = block.margin
        ends = np.cumsum([box.size for box in self.boxes])
        parts = np.split(values, ends[:-1]) if self.boxes else []
        self.pieces = [part.reshape(box.shape) for part, box in zip(parts, self.boxes, strict=True)]

    @classmethod
    def read(cls, block: Block, read: ReadClasses) -> Margin:
        """Return the margin, read from where all classes of the volume are known."""
        return cls(block, _flat([read(box) for box in block.margin]))

    @property
    def values(self) -> Array:
        """The classes of all pieces, one after the other: (n,) uint8."""
        return _flat(self.pieces)


class Step(ABC, Generic[T]):
    """What is labelled in a scan, and what is measured of it.

    Parameters
    ----------
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    table : type
        Table of what is measured.
    """

    connectivity: int
    table: type[T]

    @abstractmethod
    def foreground(self, values: Array) -> Array:
        """Return what is labelled, where not 0: (z, y, x) uint8."""

    @abstractmethod
    def measure(self, labels: Array, values: Array, count: int, box: Box, shape: Shape) -> T:
        """Return the measurements of a box: see `measure_regions`."""

    def contacts(self, labels: Array, values: Array) -> tuple[Array, T]:
        """Return what labels have from the classes of face neighbours in another tile.

        Parameters
        ----------
        labels : (z, y, x) unsigned integer
            A face of a tile.
        values : (z, y, x) uint8
            The classes of the neighbours, voxel by voxel.

        Returns
        -------
        labels : (n,) int64
            Labels, which may repeat.
        table : Table
            What each has.
        """
        return np.zeros(0, np.int64), self.table.neutral()

    def label(self, values: Array) -> tuple[Array, int]:
        """Return the labels of a box and their number: see `label_box`."""
        return label_box(self.foreground(values), self.connectivity)


@dataclass(frozen=True)
class Surface(Generic[T]):
    """What the other blocks have to know of a block's components.

    Parameters
    ----------
    table : Table
        The components that may continue in other blocks, or all of them.
    position : (k,) int64
        Positions of voxels that another block names as well.
    row : (k,) int64
        Row in the table of each voxel's component, from 0.
    """

    table: T
    position: Array
    row: Array


@dataclass(frozen=True)
class BlockComponents(Generic[T]):
    """The components of a block, as far as they are connected within it and its margin.

    Parameters
    ----------
    ids : (m,) int64
        Component, from 1, of each label of the tiles, then of the pieces of the margin.
    counts : (t,) int64
        Number of labels of each tile, then of each piece of the margin.
    table : Table
        Row i describes component i + 1.
    position : (k,) int64
        Positions of voxels that another block names as well.
    component : (k,) int64
        Component, from 1, of each of them.
    """

    ids: Array
    counts: Array
    table: T
    position: Array
    component: Array

    def lookup(self, place: int) -> Array:
        """Return the component of each label of a tile or piece, 0 for 0: (labels + 1,) int64."""
        end = int(self.counts[: place + 1].sum())
        return np.concatenate([[0], self.ids[end - int(self.counts[place]) : end]])

    @property
    def open(self) -> Array:
        """Rows of the components that may continue in other blocks: (n,) int64, increasing."""
        return np.unique(self.component) - 1

    def surface(self, *, complete: bool = False) -> Surface[T]:
        """Return what other blocks have to know; `complete`: with all components, in order."""
        rows = np.arange(len(self.table)) if complete else self.open
        return Surface(
            self.table.take(rows), self.position, np.searchsorted(rows, self.component - 1)
        )


def scan_block(
    step: Step[T], read: ReadClasses, block: Block, margin: Margin | None = None
) -> BlockComponents[T]:
    """Label the tiles of a block and unite their labels.

    Parameters
    ----------
    step : Step
        What is labelled and measured.
    read : callable
        Returns the classes of a box within the block.
    block : Block
        The block.
    margin : Margin, optional
        Its margin; a block that is the whole volume has none.
    """
    scan = _Scan(step, block, margin if margin is not None else Margin(block, _flat([])))
    for tile in block.tiles:
        scan.add(tile, read)
    return scan.finish()


class _Scan(Generic[T]):
    """Nodes are the labels of all tiles, and the pieces of the strips that they touch."""

    def __init__(self, step: Step[T], block: Block, margin: Margin) -> None:
        self._step, self._block = step, block
        self._order = _ORDER[step.connectivity]
        self._margin = iter(margin.pieces)
        self._nodes = 0
        self._tiles: list[tuple[int, int]] = []
        self._pieces: list[tuple[int, int]] = []
        self._rows: list[Array] = []
        self._tables: list[T] = []
        self._links: list[Array] = []
        # positions of voxels, their nodes, and whether another block names them as well
        self._names: list[tuple[Array, Array, bool]] = []

    def add(self, tile: Box, read: ReadClasses) -> None:
        block = self._block
        around = tile.expanded((1, 1, 1)).intersection(block.box)
        seen = read(around)
        values = np.ascontiguousarray(seen[tile.relative_to(around.start).slices])
        labels, count = self._step.label(values)
        first = self._new_nodes(count)
        self._tiles.append((first, count))
        self._measured(
            np.arange(count) + first,
            self._step.measure(labels, values, count, tile, block.shape),
        )
        for direction, piece in block.before(tile):
            foreign = not _holds(block.box, piece)
            if foreign:
                there = next(self._margin)
            elif _reach(direction) <= self._order:
                there = seen[piece.relative_to(around.start).slices]
            else:
                continue
            here = _strip(tile, direction).relative_to(tile.start).slices
            self._touch(direction, piece, (labels[here], values[here]), there, first, foreign)
        whole = Box.whole(block.shape)
        for direction in _BEFORE:
            after = shape3([-d for d in direction])
            strip = _strip(tile, after)
            beyond = strip.shifted(after)
            if not _holds(whole, beyond):
                continue
            foreign = not _holds(block.box, beyond)
            if foreign or _reach(direction) <= self._order:
                here = strip.relative_to(tile.start).slices
                pieces, found = self._step.label(values[here])
                place = first_voxels(pieces, found)
                nodes = labels[here].reshape(-1)[place].astype(np.int64) - 1 + first
                self._names.append((positions(place, strip, block.shape), nodes, foreign))

    def _touch(
        self,
        direction: Shape,
        piece: Box,
        here: tuple[Array, Array],
        there: Array,
        first: int,
        foreign: bool,
    ) -> None:
        """Add the strip of an earlier tile: its nodes, their names, and what touches them."""
        labels, values = here
        step = self._step
        pieces, found = step.label(there)
        node = self._new_nodes(found)
        place = first_voxels(pieces, found)
        names = positions(place, piece, self._block.shape)
        self._names.append((names, np.arange(found) + node, foreign))
        if foreign:
            self._pieces.append((node, found))
        beyond = self._order - _reach(direction)
        if beyond >= 0:
            pairs = _touching_pairs(
                pieces, step.foreground(there), labels, step.foreground(values), beyond
            )
            self._links.append(pairs + np.array([node - 1, first - 1]))
        if _reach(direction) == 1:
            numbers, table = step.contacts(labels, there)
            self._measured(numbers - 1 + first, table)
            numbers, table = step.contacts(pieces, values)
            self._measured(numbers - 1 + node, table)

    def finish(self) -> BlockComponents[T]:
        position = np.concatenate([np.zeros(0, np.int64), *(name[0] for name in self._names)])
        node = np.concatenate([np.zeros(0, np.int64), *(name[1] for name in self._names)])
        foreign = np.concatenate(
            [np.zeros(0, bool), *(np.full(len(name[0]), name[2]) for name in self._names)]
        )
        count, group = _united(self._nodes, [*self._links, _same_places(position, node)])
        rows = np.concatenate([np.zeros(0, np.int64), *self._rows])
        table = self._step.table.joined(self._tables).grouped(group[rows], count)
        ranges = [*self._tiles, *self._pieces]
        named = np.unique(np.stack([position[foreign], group[node[foreign]] + 1]), axis=1)
        return BlockComponents(
            ids=np.concatenate([np.zeros(0, np.int64), *(group[a : a + n] + 1 for a, n in ranges)]),
            counts=np.array([n for _, n in ranges], np.int64),
            table=table,
            position=named[0],
            component=named[1],
        )

    def _new_nodes(self, count: int) -> int:
        first = self._nodes
        self._nodes += count
        return first

    def _measured(self, nodes: Array, table: T) -> None:
        self._rows.append(nodes)
        self._tables.append(table)


def unite(surfaces: Sequence[Surface[T]]) -> tuple[list[Array], T]:
    """Unite the components of all blocks.

    Parameters
    ----------
    surfaces : sequence of Surface
        Those of all blocks.

    Returns
    -------
    rows : list of (n,) int64
        Of each block, the row of the united table for each row of its own.
    table : Table
        The united components, in no particular order.
    """
    offsets = np.cumsum([0, *(len(surface.table) for surface in surfaces)])
    position = np.concatenate([np.zeros(0, np.int64), *(s.position for s in surfaces)])
    row = np.concatenate(
        [np.zeros(0, np.int64), *(s.row + o for s, o in zip(surfaces, offsets, strict=False))]
    )
    count, group = _united(int(offsets[-1]), [_same_places(position, row)])
    kind = type(surfaces[0].table)
    table = kind.joined(surface.table for surface in surfaces).grouped(group, count)
    return [group[a:b] for a, b in itertools.pairwise(offsets)], table


def _united(count: int, links: Sequence[Array]) -> tuple[int, Array]:
    """Return the number of groups of linked nodes, and the group of each: (count,) int64."""
    if count == 0:
        return 0, np.zeros(0, np.int64)
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *links])
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (count, count))
    groups, group = connected_components(graph, directed=False)
    return int(groups), group.astype(np.int64)


def _same_places(position: Array, node: Array) -> Array:
    """Return pairs of nodes that name the same voxel: (n, 2) int64."""
    order = np.argsort(position, kind="stable")
    node, position = node[order], position[order]
    same = position[1:] == position[:-1]
    return np.stack([node[:-1][same], node[1:][same]], axis=1)


def _touching_pairs(
    labels_there: Array, values_there: Array, labels: Array, values: Array, reach: int
) -> Array:
    """Return pairs of labels that touch across two strips of the same shape: (n, 2) int64.

    `reach` is the number of axes along which two voxels may differ besides those across.
    """
    base = int(labels.max(initial=0)) + 1
    found = [np.zeros(0, np.int64)]
    shifts = [(-1, 0, 1) if n > 1 else (0,) for n in labels.shape]
    for shift in itertools.product(*shifts):
        if _reach(shift) > reach:
            continue
        there = tuple(
            slice(max(0, d), n + min(0, d)) for d, n in zip(shift, labels.shape, strict=True)
        )
        here = tuple(
            slice(max(0, -d), n + min(0, -d)) for d, n in zip(shift, labels.shape, strict=True)
        )
        same = (values_there[there] == values[here]) & (values[here] > 0)
        # One sortable key for the pair; neighbours mostly have the same.
        keys = labels_there[there][same].astype(np.int64) * base + labels[here][same]
        found.append(keys[np.flatnonzero(np.diff(keys, prepend=-1))])
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs // base, pairs % base], axis=1)


def _strip(box: Box, direction: Shape) -> Box:
    """Return the voxels of a box that touch the neighbour in a direction."""
    sides = list(zip(box.start, box.stop, direction, strict=True))
    return Box(
        shape3([b - 1 if d > 0 else a for a, b, d in sides]),
        shape3([a + 1 if d < 0 else b for a, b, d in sides]),
    )


def _reach(direction: Sequence[int]) -> int:
    """Return the number of axes that a direction goes along."""
    return sum(d != 0 for d in direction)


def _holds(outer: Box, inner: Box) -> bool:
    return outer.intersection(inner) == inner


def _flat(pieces: Sequence[Array]) -> Array:
    return np.concatenate([np.zeros(0, np.uint8), *(piece.reshape(-1) for piece in pieces)])
