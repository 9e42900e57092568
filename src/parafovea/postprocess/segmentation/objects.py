"""Objects in cleaned classes: their components and their ids, in blocks of a volume."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Shape, Vector, shape3
from parafovea.postprocess.segmentation.block_components import (
    Block,
    BlockComponents,
    ReadClasses,
    Step,
)
from parafovea.postprocess.segmentation.region_table import RegionTable, measure_regions
from parafovea.settings.postprocess import ClassSettings

Array = np.ndarray[Any, Any]

#: Maximum bounding box of an object that is split, in voxels; it takes about 3 GB of memory.
LARGEST_SPLIT = 2**25


@dataclass(frozen=True)
class Objects(Step[RegionTable]):
    """Labelling of the objects of classes with `instances`.

    Parameters
    ----------
    instances : sequence of bool
        Whether a class has objects, for every class except the background.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    """

    instances: Sequence[bool]
    connectivity: int
    table: type[RegionTable] = RegionTable

    def foreground(self, values: Array) -> Array:
        """Return what is labelled, where not 0: (z, y, x) uint8."""
        counted = np.zeros(256, np.uint8)
        counted[1 : len(self.instances) + 1] = self.instances
        return values * counted[values]

    def measure(
        self, labels: Array, values: Array, count: int, box: Box, shape: Shape
    ) -> RegionTable:
        """Return the measurements of a box."""
        return measure_regions(labels, values, count=count, box=box, shape=shape)


@dataclass(frozen=True)
class Wholes:
    """The objects of a volume before any is split, numbered in scan order.

    Parameters
    ----------
    table : RegionTable
        Row i describes object i + 1.
    split : (n,) int64
        Rows of the objects to split, increasing.
    unsplit : int
        Number of objects that are not split because their bounding box is too large.
    """

    table: RegionTable
    split: Array
    unsplit: int


def number_wholes(
    rows: Sequence[Array],
    table: RegionTable,
    *,
    spacing: Vector,
    settings: Sequence[ClassSettings],
) -> tuple[list[Array], Wholes]:
    """Return the numbers of united components in scan order, and which of them to split.

    Parameters
    ----------
    rows, table
        As `unite` returns them.
    spacing : tuple of float
        Distance between voxel centres along z, y, x.
    settings : sequence of ClassSettings
        Settings of every class except the background.

    Returns
    -------
    rows : list of (n,) int64
        Of each block, the row of `Wholes.table` for each of its components.
    wholes : Wholes
        The objects.
    """
    order = np.argsort(table.first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    numbered = table.take(order)
    sides = numbered.stop - numbered.start
    distances = [math.inf, *split_distances(settings)]
    rows_splitting = np.flatnonzero(np.isfinite(distances)[numbered.value])
    wide = [
        row
        for row in rows_splitting.tolist()
        if math.hypot(*(sides[row] * spacing)) >= distances[numbered.value[row]]
    ]
    fits = [row for row in wide if sides[row].prod() <= LARGEST_SPLIT]
    found = Wholes(numbered, np.array(fits, np.int64), len(wide) - len(fits))
    return [rank[each] for each in rows], found


def split_distances(settings: Sequence[ClassSettings]) -> list[float]:
    """Return the distance of each class but the background; infinite for one that is not split."""
    return [math.inf if s.split_distance is None else s.split_distance for s in settings]


def first_owner(table: RegionTable, blocks: Sequence[Block]) -> Array:
    """Return the number of the block, from 1, that holds each object's first voxel: (n,) int64."""
    shape, tile = blocks[0].shape, np.array(blocks[0].tile)
    lattice = np.zeros([-(-n // t) for n, t in zip(shape, tile, strict=True)], np.int64)
    for number, block in enumerate(blocks, start=1):
        start, stop = np.array(block.box.start) // tile, -(-np.array(block.box.stop) // tile)
        if block.box.size:
            lattice[Box(shape3(start), shape3(stop)).slices] = number
    place = np.unravel_index(table.first, shape)
    return np.asarray(lattice[tuple(p // t for p, t in zip(place, tile, strict=True))])


@dataclass(frozen=True)
class Pieces:
    """The pieces of split objects.

    Parameters
    ----------
    row : (n,) int64
        Row of the object of each piece, increasing; its pieces 1, 2, ... are in order.
    table : RegionTable
        Of the pieces.
    """

    row: Array
    table: RegionTable


@dataclass(frozen=True)
class Numbering:
    """The ids of all objects, 1..n in scan order of their first voxels.

    Parameters
    ----------
    table : RegionTable
        Row i describes object i + 1.
    wholes : (m,) uint32
        Id of each whole object; 0 for one that is split.
    pieces : (k,) uint32
        Id of each piece.
    """

    table: RegionTable
    wholes: Array
    pieces: Array


def number_pieces(wholes: Wholes, pieces: Pieces) -> Numbering:
    """Return the ids of whole objects and of the pieces of those that are split."""
    if not len(pieces.row):
        ids = np.arange(1, len(wholes.table) + 1, dtype=np.uint32)
        return Numbering(wholes.table, ids, ids[:0])
    is_split = np.zeros(len(wholes.table), bool)
    is_split[pieces.row] = True
    kept = np.flatnonzero(~is_split)
    table = RegionTable.joined([wholes.table.take(kept), pieces.table])
    order = np.argsort(table.first, kind="stable")
    ids = np.empty(len(order), np.uint32)
    ids[order] = np.arange(1, len(order) + 1)
    of_wholes = np.zeros(len(wholes.table), np.uint32)
    of_wholes[kept] = ids[: len(kept)]
    return Numbering(table.take(order), of_wholes, ids[len(kept) :])


@dataclass(frozen=True)
class BlockIds:
    """The ids of a block's objects.

    Parameters
    ----------
    ids : (n + 1,) uint32
        Id of each component of the block, from entry 1; 0 for one that is split.
    owner : (n + 1,) int64
        Of a component that is split, the number of the block that split it, from 1; otherwise 0.
    base : (n + 1,) int64
        Of a component that is split, the entry of `pieces` before that of its first piece.
    pieces : (k,) uint32
        Ids of pieces, with an unused entry at the start.
    """

    ids: Array
    owner: Array
    base: Array
    pieces: Array

    @classmethod
    def of(cls, rows: Array, numbering: Numbering, pieces: Pieces, owner: Array) -> BlockIds:
        """Return the ids of a block.

        Parameters
        ----------
        rows : (n,) int64
            Row of the whole object of each component of the block.
        numbering : Numbering
            The ids of all objects.
        pieces : Pieces
            Those of all objects.
        owner : (k,) int64
            Number of the block that made each piece.
        """
        ids = numbering.wholes[rows]
        first = np.searchsorted(pieces.row, rows)
        last = np.searchsorted(pieces.row, rows, side="right")
        counts = last - first
        split = np.flatnonzero(counts)
        taken = np.concatenate(
            [np.zeros(0, np.int64), *(np.arange(first[i], last[i]) for i in split)]
        )
        owners, base = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        owners[split] = owner[first[split]]
        base[split] = np.cumsum([0, *counts[split][:-1]]) if len(split) else []
        return cls(
            ids=np.concatenate([[0], ids]).astype(np.uint32),
            owner=np.concatenate([[0], owners]),
            base=np.concatenate([[0], base]),
            pieces=np.concatenate([[0], numbering.pieces[taken]]).astype(np.uint32),
        )

    def numbered(
        self,
        step: Objects,
        components: BlockComponents[RegionTable],
        block: Block,
        read: ReadClasses,
        read_pieces: Callable[[int, Box], Array],
    ) -> Iterator[tuple[Box, Array]]:
        """Yield the tiles of a block with the ids of their objects.

        Parameters
        ----------
        step, components, block
            The scan for objects.
        read : callable
            Returns the classes of a box within the block.
        read_pieces : callable
            Returns what `split_wholes` wrote: takes the number of the block that split, and a box.

        Yields
        ------
        box : Box
            A tile.
        ids : (z, y, x) uint32
            The ids of its objects; 0 is no object.

        Raises
        ------
        StoreError
            If a voxel of a split object has no piece.
        """
        for place, tile in enumerate(block.tiles):
            labels, _ = step.label(read(tile))
            lookup = components.lookup(place)
            found = self.ids[lookup][labels]
            owners = self.owner[lookup]
            for owner in np.unique(owners[owners > 0]):
                where = (owners == owner)[labels]
                piece = read_pieces(int(owner), tile)[where].astype(np.int64)
                if not piece.all():
                    raise StoreError(
                        f"the pieces of objects that block {owner} split are not all there: delete "
                        "the folder blocks of this sample and run again"
                    )
                found[where] = self.pieces[self.base[lookup][labels[where]] + piece]
            yield tile, found
