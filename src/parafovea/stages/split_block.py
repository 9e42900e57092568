"""Stage split_block: splits the objects that are assigned to a block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parafovea.postprocess.segmentation.block_files import (
    PartFolder,
    label_blocks,
    load_pieces,
    save_pieces,
)
from parafovea.postprocess.segmentation.label_images import create_pieces, open_prediction
from parafovea.postprocess.segmentation.split import split_wholes
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.settings.postprocess import ClassSettings, Connectivity
from parafovea.storage.array_files import block_file


def split_block(
    prediction: Path,
    wholes: Path,
    pieces: Path,
    table: Path,
    *,
    classes: str,
    connectivity: Connectivity,
    class_settings: Mapping[str, ClassSettings | Mapping[str, Any]],
    block: int,
    blocks: int,
) -> None:
    """Split the objects whose first voxel lies in a block, wherever they extend to.

    Parameters
    ----------
    prediction : Path
        Store of the probabilities, which names the classes.
    wholes : Path
        Folder that `unite_objects` wrote.
    pieces : Path
        Store to write: (z, y, x) uint32, the piece of each voxel of a split object.
    table : Path
        .npz to write: see `save_pieces`.
    classes : str
        Folder with the classes of all blocks.
    connectivity, class_settings
        As for `segment_objects`.
    block, blocks : int
        Number of the block, from 1, and number of blocks.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    source, names = open_prediction(prediction)
    steps = Steps.of(class_settings, names, connectivity=connectivity)
    own = load_pieces(block_file(wholes / "split", block))
    parts = PartFolder(Path(classes), label_blocks(source.grid, blocks))
    with create_pieces(pieces, source.grid) as array:
        found = split_wholes(
            own.table,
            own.row,
            parts.read,
            array,
            shape=source.grid.shape,
            spacing=source.grid.spacing,
            settings=steps.settings,
            connectivity=connectivity,
        )
    save_pieces(table, found)
