"""Stage number_block: the object ids of a block's voxels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.geometry.grid import Box
from parafovea.postprocess.segmentation.block_files import (
    PartFolder,
    label_blocks,
    load_components,
    load_ids,
)
from parafovea.postprocess.segmentation.label_images import class_names, create_labels
from parafovea.postprocess.segmentation.scanned_parts import part_attributes
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.runtime.progress import tracked
from parafovea.settings.postprocess import ClassSettings, Connectivity
from parafovea.storage.array_files import block_file
from parafovea.storage.parts import part_record
from parafovea.storage.store import open_stored


def number_block(
    classes: Path,
    components: Path,
    ids: Path,
    objects: Path,
    *,
    pieces: str,
    connectivity: Connectivity,
    class_settings: Mapping[str, ClassSettings | Mapping[str, Any]],
    block: int,
    blocks: int,
) -> None:
    """Write the object ids of a block's voxels.

    Parameters
    ----------
    classes : Path
        Part with the classes.
    components : Path
        .npz with the objects of the block: see `save_components`.
    ids : Path
        Folder that `number_objects` wrote.
    objects : Path
        Part to write: (z, y, x) uint32.
    pieces : str
        Folder with the pieces of split objects that each block made, if any.
    connectivity, class_settings
        As for `segment_objects`.
    block, blocks : int
        Number of the block, from 1, and number of blocks.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    source = open_stored(classes)
    steps = Steps.of(class_settings, class_names(source), connectivity=connectivity)
    all_blocks = label_blocks(source.grid, blocks)
    own = all_blocks[block - 1]
    found, _ = load_components(components, steps.objects, own)
    names = load_ids(block_file(ids, block))
    parts = PartFolder(Path(pieces), all_blocks)

    def read_pieces(owner: int, box: Box) -> np.ndarray[Any, Any]:
        return parts.part(owner).read(box)

    attributes = {**part_attributes(source), **part_record(own.box)}
    numbered = names.numbered(steps.objects, found, own, source.read, read_pieces)
    with create_labels(objects, source.grid, np.uint32, attributes, own.box) as array:
        for tile, values in tracked(numbered, len(own.tiles), "boxes numbered"):
            array[tile.slices] = values
