"""Stage segment_objects: cleaned classes, numbered objects and their table."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.geometry.grid import Box
from parafovea.postprocess.segmentation.block_components import Block, scan_block, unite
from parafovea.postprocess.segmentation.classify import classified
from parafovea.postprocess.segmentation.clean import Decided
from parafovea.postprocess.segmentation.label_images import (
    create_classes,
    create_labels,
    create_pieces,
    label_record,
    object_counts,
    open_prediction,
    warn_unsplit,
)
from parafovea.postprocess.segmentation.object_table import write_object_table
from parafovea.postprocess.segmentation.objects import BlockIds, number_pieces, number_wholes
from parafovea.postprocess.segmentation.split import split_wholes
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.runtime.progress import tracked
from parafovea.settings.postprocess import ClassSettings, Connectivity, Method
from parafovea.storage.blocks import LABEL_SHARD
from parafovea.storage.linked_images import link_image
from parafovea.storage.store import beside, discard

Array = np.ndarray[Any, Any]


def segment_objects(
    prediction: Path,
    classes: Path,
    objects: Path,
    table: Path,
    image: Path | None = None,
    *,
    volume: Path | None = None,
    method: Method,
    connectivity: Connectivity = 26,
    class_settings: Mapping[str, ClassSettings | Mapping[str, Any]],
) -> None:
    """Derive classes and objects from class probabilities.

    The steps are: class of each voxel, removal of small components, filling of holes, labelling,
    splitting. Memory is bounded by a file of labels, the table of objects and the largest object
    that is split.

    Parameters
    ----------
    prediction : Path
        Store of (class, z, y, x) probabilities in [0, 1]; the first class is the background.
    classes : Path
        Store to write: (z, y, x) uint8 class indices.
    objects : Path
        Store to write: (z, y, x) uint32 object ids, 1..n in scan order of their first voxels.
    table : Path
        Tab-separated table to write, with a line per object: see `objects_frame`.
    image : Path, optional
        Store to write: the volume with classes and objects as its labels, as links.
    volume : Path, optional
        Store of the sample's volume, for `image`.
    method : {"argmax", "threshold"}
        Choice of a voxel's class: see `classify`.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    class_settings : mapping of str to mapping
        The fields of `ClassSettings` by class name; other classes use the defaults.

    Raises
    ------
    ConfigError
        If `class_settings` names an unknown class.
    StoreError
        If the prediction is missing, damaged or without classes.
    VoxelError
        If a probability is NaN.
    """
    source, names = open_prediction(prediction)
    grid = source.grid
    steps = Steps.of(class_settings, names, connectivity=connectivity)
    attributes = label_record(source.attributes, method, steps)
    block = Block(grid.box, grid.shape, LABEL_SHARD)
    with (
        create_classes(classes, grid, names, attributes) as class_array,
        create_labels(objects, grid, np.uint32, attributes) as object_array,
    ):
        tiles = block.tiles
        for tile in tracked(tiles, len(tiles), "boxes classified"):
            class_array[tile.slices] = classified(source, tile, method, steps.settings)

        def read(box: Box) -> Array:
            return np.asarray(class_array[box.slices])

        for cleaning in steps.cleanings.values():
            decided = Decided.of(cleaning, scan_block(cleaning, read, block))
            for tile, values in decided.cleaned(block, read):
                class_array[tile.slices] = values
        components = scan_block(steps.objects, read, block)
        rows, united = unite([components.surface(complete=True)])
        rows, wholes = number_wholes(rows, united, spacing=grid.spacing, settings=steps.settings)
        scratch = beside(objects, "scratch")
        with contextlib.ExitStack() as stack:
            stack.callback(discard, scratch)
            piece_array = stack.enter_context(create_pieces(scratch, grid))

            def read_pieces(_: int, box: Box) -> Array:
                return np.asarray(piece_array[box.slices])

            pieces = split_wholes(
                wholes.table.take(wholes.split),
                wholes.split,
                read,
                piece_array,
                shape=grid.shape,
                spacing=grid.spacing,
                settings=steps.settings,
                connectivity=connectivity,
            )
            numbering = number_pieces(wholes, pieces)
            ids = BlockIds.of(rows[0], numbering, pieces, np.ones(len(pieces.row), np.int64))
            for tile, values in ids.numbered(steps.objects, components, block, read, read_pieces):
                object_array[tile.slices] = values
        attributes |= object_counts(len(numbering.table), wholes.unsplit)
        write_object_table(table, numbering.table, names, grid)
    if image is not None and volume is not None:
        link_image(image, volume, {"classes": classes, "objects": objects})
    warn_unsplit(wholes.unsplit, objects)
