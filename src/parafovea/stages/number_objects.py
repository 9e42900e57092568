"""Stage number_objects: the ids of all objects of a volume in blocks, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.postprocess.segmentation.block_components import unite
from parafovea.postprocess.segmentation.block_files import (
    load_pieces,
    load_surface,
    load_wholes,
    save_ids,
)
from parafovea.postprocess.segmentation.label_images import object_counts, open_prediction
from parafovea.postprocess.segmentation.object_table import write_object_table
from parafovea.postprocess.segmentation.objects import (
    BlockIds,
    Pieces,
    number_pieces,
    number_wholes,
)
from parafovea.postprocess.segmentation.region_table import RegionTable
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.settings.postprocess import ClassSettings, Connectivity
from parafovea.storage.array_files import ALL, block_file, loaded_arrays, save_arrays
from parafovea.storage.layout import OBJECT_TABLE
from parafovea.storage.store import replacing

Array = np.ndarray[Any, Any]


def number_objects(
    prediction: Path,
    ids: Path,
    *,
    surfaces: Sequence[Path] = (),
    wholes: Path | None = None,
    pieces: Sequence[Path] = (),
    connectivity: Connectivity,
    class_settings: Mapping[str, ClassSettings | Mapping[str, Any]],
) -> None:
    """Give the objects of all blocks their ids, in scan order of their first voxels.

    Parameters
    ----------
    prediction : Path
        Store of the probabilities, which names the classes.
    ids : Path
        Folder to write: a .npz of each block, see `save_ids`, the table of objects and their
        counts.
    surfaces : sequence of Path
        .npz of every block, if no objects are split: see `save_surface`.
    wholes : Path, optional
        Folder that `unite_objects` wrote, if objects are split.
    pieces : sequence of Path
        Tables that `split_block` wrote, of every block.
    connectivity, class_settings
        As for `segment_objects`.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    source, names = open_prediction(prediction)
    steps = Steps.of(class_settings, names, connectivity=connectivity)
    if wholes is None:
        rows, table = unite([load_surface(path, steps.objects) for path in surfaces])
        rows, found = number_wholes(
            rows, table, spacing=source.grid.spacing, settings=steps.settings
        )
    else:
        found = load_wholes(block_file(wholes, ALL))
        rows = [_rows(wholes, block) for block in range(1, len(pieces) + 1)]
    made, owner = _joined([load_pieces(path) for path in pieces])
    numbering = number_pieces(found, made)
    with replacing(ids) as partial:
        for block, row in enumerate(rows, start=1):
            save_ids(block_file(partial, block), BlockIds.of(row, numbering, made, owner))
        write_object_table(partial / OBJECT_TABLE, numbering.table, names, source.grid)
        counts = object_counts(len(numbering.table), found.unsplit)
        save_arrays(block_file(partial, ALL), {n: np.array(count) for n, count in counts.items()})


def _rows(wholes: Path, block: int) -> Array:
    with loaded_arrays(block_file(wholes / "rows", block)) as arrays:
        return arrays["row"]


def _joined(parts: Sequence[Pieces]) -> tuple[Pieces, Array]:
    """Return the pieces of all blocks in order of their objects, and the block of each."""
    row = np.concatenate([np.zeros(0, np.int64), *(part.row for part in parts)])
    owner = np.concatenate(
        [np.zeros(0, np.int64), *(np.full(len(p.row), n) for n, p in enumerate(parts, start=1))]
    )
    order = np.argsort(row, kind="stable")
    table = RegionTable.joined(part.table for part in parts)
    return Pieces(row[order], table.take(order)), owner[order]
