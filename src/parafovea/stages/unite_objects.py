"""Stage unite_objects: the objects of a volume in blocks, before any is split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.postprocess.segmentation.block_components import unite
from parafovea.postprocess.segmentation.block_files import (
    label_blocks,
    load_surface,
    save_pieces,
    save_wholes,
)
from parafovea.postprocess.segmentation.label_images import open_prediction
from parafovea.postprocess.segmentation.objects import Pieces, first_owner, number_wholes
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.settings.postprocess import ClassSettings, Connectivity
from parafovea.storage.array_files import ALL, block_file, save_arrays
from parafovea.storage.store import replacing


def unite_objects(
    prediction: Path,
    surfaces: Sequence[Path],
    wholes: Path,
    *,
    connectivity: Connectivity,
    class_settings: Mapping[str, ClassSettings | Mapping[str, Any]],
) -> None:
    """Unite the objects that blocks share, and assign those to split to blocks.

    An object is split by the block of its first voxel.

    Parameters
    ----------
    prediction : Path
        Store of the probabilities, which names the classes.
    surfaces : sequence of Path
        .npz of every block: see `save_surface`.
    wholes : Path
        Folder to write: all objects, those that each block splits, and the object of each
        component of a block.
    connectivity, class_settings
        As for `segment_objects`.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    source, names = open_prediction(prediction)
    steps = Steps.of(class_settings, names, connectivity=connectivity)
    rows, table = unite([load_surface(path, steps.objects) for path in surfaces])
    rows, found = number_wholes(rows, table, spacing=source.grid.spacing, settings=steps.settings)
    to_split = found.table.take(found.split)
    owner = first_owner(to_split, label_blocks(source.grid, len(surfaces)))
    with replacing(wholes) as partial:
        save_wholes(block_file(partial, ALL), found)
        for block, row in enumerate(rows, start=1):
            save_arrays(block_file(partial / "rows", block), {"row": row})
            own = owner == block
            save_pieces(
                block_file(partial / "split", block), Pieces(found.split[own], to_split.take(own))
            )
