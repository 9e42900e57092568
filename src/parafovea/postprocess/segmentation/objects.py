"""Labelling of objects in cleaned classes: components, splitting, consistent ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import fastremap
import numpy as np
import pandas as pd

from parafovea.geometry.grid import AXES, Box, Grid, Vector, shape3
from parafovea.postprocess.segmentation.components import ReadSlab, find_components, label_slab
from parafovea.postprocess.segmentation.region_table import (
    RegionTable,
    concatenated,
    measure_regions,
)
from parafovea.postprocess.segmentation.split import split_object
from parafovea.settings.postprocess import ClassSettings

Array = np.ndarray[Any, Any]

#: Maximum bounding box of an object that is split, in voxels; it takes about 3 GB of memory.
LARGEST_SPLIT = 2**25


class Voxels(Protocol):
    """An array (z, y, x) that is read and written in parts, of NumPy or Zarr."""

    def __getitem__(self, index: Any, /) -> Any: ...

    def __setitem__(self, index: Any, value: Any, /) -> None: ...


@dataclass(frozen=True)
class Numbering:
    """The objects of a volume.

    Parameters
    ----------
    table : RegionTable
        Row i describes object i + 1.
    unsplit : int
        Number of objects that are not split because their bounding box is too large.
    """

    table: RegionTable
    unsplit: int = 0


def number_objects(
    read: ReadSlab,
    boxes: Sequence[Box],
    target: Voxels,
    *,
    settings: Sequence[ClassSettings],
    connectivity: int,
) -> Numbering:
    """Write the connected components of each class, numbered in scan order.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) uint8 class indices of a slab.
    boxes : sequence of Box
        The slabs in z order; each spans the volume in y and x.
    target : array (z, y, x) uint32
        Receives the ids 1..n, numbered by the objects' first voxels; 0 is no object.
    settings : sequence of ClassSettings
        Settings of every class except the background; classes without `instances` have no objects.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    """
    counted = np.array([False, *(s.instances for s in settings)])

    def read_counted(box: Box) -> Array:
        classes = read(box)
        return np.where(counted[classes], classes, 0).astype(np.uint8)

    found = find_components(read_counted, boxes, connectivity)
    for index, box in enumerate(boxes):
        labels, _ = label_slab(read_counted(box), connectivity)
        target[box.slices] = found.lookup(index).astype(np.uint32)[labels]
    return Numbering(found.table)


def split_objects(
    ids: Voxels,
    numbering: Numbering,
    *,
    shape: Sequence[int],
    spacing: Vector,
    settings: Sequence[ClassSettings],
    connectivity: int,
) -> Numbering:
    """Split touching objects of classes with `split_distance`; new pieces get ids above all others.

    Parameters
    ----------
    ids : array (z, y, x) uint32
        Objects; the box of one object is read and written at a time.
    numbering : Numbering
        The objects in `ids`.
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
    Numbering
        The given table, which is outdated for split objects, and the number of objects that are
        too large to be split.
    """
    table = numbering.table
    highest, unsplit = len(table), 0
    for row in range(len(table)):
        choice = settings[int(table.value[row]) - 1]
        box = Box(shape3(table.start[row]), shape3(table.stop[row]))
        reach = math.hypot(*(n * s for n, s in zip(box.shape, spacing, strict=True)))
        if choice.split_distance is None or reach < choice.split_distance:
            continue
        if box.size > LARGEST_SPLIT:
            unsplit += 1
            continue
        wider = box.expanded((1, 1, 1)).intersection(Box.whole(shape))
        around = np.asarray(ids[wider.slices])
        pieces = split_object(
            around == row + 1,
            spacing=spacing,
            distance=choice.split_distance,
            min_voxels=choice.min_voxels,
            connectivity=connectivity,
        )
        extra = int(pieces.max()) - 1
        if extra > 0:
            # The first piece keeps the object's id.
            ids[wider.slices] = np.where(pieces > 1, highest - 1 + pieces, around).astype(np.uint32)
            highest += extra
    return Numbering(table, unsplit)


def renumber_objects(
    ids: Voxels, read_classes: ReadSlab, boxes: Sequence[Box], target: Voxels
) -> RegionTable:
    """Write objects with ids 1..n in z, y, x order of their first voxels.

    Parameters
    ----------
    ids : array (z, y, x) uint32
        Objects with any ids; 0 is background.
    read_classes : callable
        Returns the (z, y, x) uint8 class indices of a slab.
    boxes : sequence of Box
        The slabs in z order; each spans the volume in y and x.
    target : array (z, y, x) uint32
        Receives the ids.

    Returns
    -------
    RegionTable
        Row i describes object i + 1.
    """
    tables, members = [], [np.zeros(0, np.int64)]
    for box in boxes:
        labels, known = fastremap.renumber(np.asarray(ids[box.slices]), preserve_zero=True)
        names = {int(new): int(old) for old, new in known.items() if new != 0}
        members.append(np.array([names[i + 1] for i in range(len(names))], np.int64))
        tables.append(
            measure_regions(labels, read_classes(box), count=len(names), plane=box.start[0])
        )
    present, group = np.unique(np.concatenate(members), return_inverse=True)
    united = concatenated(tables).grouped(group, len(present))
    order = np.argsort(united.first, kind="stable")
    lookup = np.zeros(int(present.max(initial=0)) + 1, np.uint32)
    lookup[present[order]] = np.arange(1, len(present) + 1)
    for box in boxes:
        target[box.slices] = lookup[np.asarray(ids[box.slices])]
    return united.take(order)


def objects_frame(table: RegionTable, *, classes: Sequence[str], grid: Grid) -> pd.DataFrame:
    """Return the table of objects that is stored with the labels.

    Parameters
    ----------
    table : RegionTable
        Row i describes object i + 1.
    classes : sequence of str
        Names of all classes, the background first.
    grid : Grid
        Grid of the volume.

    Returns
    -------
    DataFrame
        Columns id, class, voxels, volume (cubic `grid.unit`), centroid_z/y/x (world, `grid.unit`)
        and z0, z1, y0, y1, x0, x1 (half-open bounding box, voxels); no rows without objects.
    """
    centroids = np.array(grid.origin) + table.centroids * np.array(grid.spacing)
    columns: dict[str, Any] = {
        "id": np.arange(1, len(table) + 1),
        "class": [classes[i] for i in table.value],
        "voxels": table.voxels,
        "volume": table.voxels * grid.voxel_volume,
    }
    columns |= {f"centroid_{name}": centroids[:, axis] for axis, name in enumerate(AXES)}
    for axis, name in enumerate(AXES):
        columns |= {f"{name}0": table.start[:, axis], f"{name}1": table.stop[:, axis]}
    return pd.DataFrame(columns)
