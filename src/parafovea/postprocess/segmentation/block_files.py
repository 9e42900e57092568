"""Files in which the jobs of a volume's blocks pass on components and ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Grid
from parafovea.postprocess.segmentation.block_components import (
    Block,
    BlockComponents,
    Margin,
    Step,
    Surface,
)
from parafovea.postprocess.segmentation.objects import BlockIds, Pieces, Wholes
from parafovea.postprocess.segmentation.region_table import RegionTable, Table
from parafovea.storage.array_files import block_file, loaded_arrays, save_arrays
from parafovea.storage.blocks import LABEL_SHARD, divided
from parafovea.storage.store import Stored, open_stored

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
T = TypeVar("T", bound=Table)

#: Prefix of the columns of a table among other arrays.
_COLUMN = "table."


def label_blocks(grid: Grid, blocks: int) -> list[Block]:
    """Return the blocks of the labels of a volume."""
    boxes = divided(grid.shape, LABEL_SHARD, blocks)
    return [Block(box, grid.shape, LABEL_SHARD) for box in boxes]


def save_components(path: Path, found: BlockComponents[Any], margin: Margin) -> None:
    """Write what a block itself has to know later: its components and its margin."""
    arrays = {name: getattr(found, name) for name in ("ids", "counts", "position", "component")}
    save_arrays(path, {**arrays, "margin": margin.values, **_columns(found.table)})


def load_components(path: Path, step: Step[T], block: Block) -> tuple[BlockComponents[T], Margin]:
    """Read the components and the margin of a block after a scan for a step.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    with loaded_arrays(path) as arrays:
        found = BlockComponents(
            arrays["ids"],
            arrays["counts"],
            _table(step.table, arrays),
            arrays["position"],
            arrays["component"],
        )
        return found, Margin(block, arrays["margin"])


def save_surface(path: Path, surface: Surface[Any]) -> None:
    """Write what the other blocks have to know of one."""
    arrays = {"position": surface.position, "row": surface.row, **_columns(surface.table)}
    save_arrays(path, arrays)


def load_surface(path: Path, step: Step[T]) -> Surface[T]:
    """Read what the other blocks have to know of one, after a scan for a step.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    with loaded_arrays(path) as arrays:
        return Surface(_table(step.table, arrays), arrays["position"], arrays["row"])


def save_wholes(path: Path, wholes: Wholes) -> None:
    """Write all objects of a volume."""
    unsplit = np.array(wholes.unsplit, np.int64)
    save_arrays(path, {"split": wholes.split, "unsplit": unsplit, **_columns(wholes.table)})


def load_wholes(path: Path) -> Wholes:
    """Read all objects of a volume.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    with loaded_arrays(path) as arrays:
        return Wholes(_table(RegionTable, arrays), arrays["split"], int(arrays["unsplit"]))


def save_pieces(path: Path, pieces: Pieces) -> None:
    """Write pieces of objects, or objects by their row."""
    save_arrays(path, {"row": pieces.row, **_columns(pieces.table)})


def load_pieces(path: Path) -> Pieces:
    """Read pieces of objects, or objects by their row.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    with loaded_arrays(path) as arrays:
        return Pieces(arrays["row"], _table(RegionTable, arrays))


def save_ids(path: Path, found: BlockIds) -> None:
    """Write the ids of a block's objects."""
    names = ("ids", "owner", "base", "pieces")
    save_arrays(path, {name: getattr(found, name) for name in names})


def load_ids(path: Path) -> BlockIds:
    """Read the ids of a block's objects.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    with loaded_arrays(path) as arrays:
        return BlockIds(arrays["ids"], arrays["owner"], arrays["base"], arrays["pieces"])


class PartFolder:
    """The parts of an array in a folder, a store a block, read as one array.

    Parameters
    ----------
    folder : Path
        Holds `1.zarr`, `2.zarr` and so on; opened when they are first read.
    blocks : sequence of Block
        The blocks, in the order of their numbers.
    """

    def __init__(self, folder: Path, blocks: list[Block]) -> None:
        self._folder, self._blocks = folder, blocks
        self._starts = np.array([block.box.start for block in blocks])
        self._stops = np.array([block.box.stop for block in blocks])
        self._opened: dict[int, Stored] = {}

    def part(self, number: int) -> Stored:
        """Return the part of a block, counted from 1."""
        if number not in self._opened:
            self._opened[number] = open_stored(block_file(self._folder, number, "zarr"))
        return self._opened[number]

    def read(self, box: Box) -> Array:
        """Return the values of a box, which may extend over several parts."""
        found: Array | None = None
        meets = (self._starts < np.minimum(self._stops, box.stop)) & (self._stops > box.start)
        for place in np.flatnonzero(meets.all(axis=1)).tolist():
            shared = self._blocks[place].box.intersection(box)
            values = self.part(place + 1).read(shared)
            if shared == box:
                return values
            if found is None:
                found = np.zeros(box.shape, values.dtype)
            found[shared.relative_to(box.start).slices] = values
        if found is None:
            raise StoreError(f"{self._folder} has no part with {box}: delete it and run again")
        return found


def _columns(table: Table) -> dict[str, Array]:
    return {_COLUMN + name: values for name, values in table.columns().items()}


def _table(kind: type[T], arrays: Arrays) -> T:
    prefix = len(_COLUMN)
    return kind.of({n[prefix:]: a for n, a in arrays.items() if n.startswith(_COLUMN)})
