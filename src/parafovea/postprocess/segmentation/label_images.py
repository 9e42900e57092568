"""Stores of classes, objects and pieces of objects, and the table of objects."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from parafovea.errors import StoreError
from parafovea.geometry.grid import Grid, Shape
from parafovea.postprocess.segmentation.objects import objects_frame
from parafovea.postprocess.segmentation.region_table import RegionTable
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.settings.postprocess import Method
from parafovea.storage.blocks import LABEL_SHARD
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import Stored, create, open_stored, replacing

#: Chunk of the pieces of split objects, a file each: they are written object by object.
PIECE_CHUNK: Shape = (64, 128, 128)


def open_prediction(path: Path) -> tuple[Stored, tuple[str, ...]]:
    """Return the prediction of a segmentation and the names of its classes.

    Raises
    ------
    StoreError
        If it is missing, damaged or without classes.
    """
    source = open_stored(path)
    if source.channels is None or len(source.channels) < 2:
        raise StoreError(f"{path} has no classes: it is not the prediction of a segmentation")
    return source, source.channels


def create_labels(
    path: Path, grid: Grid, dtype: np.typing.DTypeLike, attributes: dict[str, Any]
) -> contextlib.AbstractContextManager[zarr.Array[Any]]:
    """Create a label image of whole tiles: see `create`."""
    return create(path, grid, dtype=dtype, shard=LABEL_SHARD, attributes=attributes, labels=True)


def create_pieces(path: Path, grid: Grid) -> contextlib.AbstractContextManager[zarr.Array[Any]]:
    """Create an array of the pieces of split objects: see `create`."""
    return create(path, grid, dtype=np.uint32, chunk=PIECE_CHUNK, shard=None, labels=True)


def label_record(made: Mapping[str, Any], method: Method, steps: Steps) -> dict[str, Any]:
    """Return the record of classes and objects.

    Parameters
    ----------
    made : mapping
        Record of the prediction.
    method : {"argmax", "threshold"}
        Choice of a voxel's class.
    steps : Steps
        The steps after it.
    """
    choices = zip(steps.names[1:], steps.settings, strict=True)
    return record(
        "segment_objects",
        **lineage(made),
        classes=list(steps.names),
        postprocess={
            "method": method,
            "connectivity": steps.connectivity,
            "classes": {name: choice.model_dump() for name, choice in choices},
        },
    )


def write_object_table(path: Path, table: RegionTable, names: tuple[str, ...], grid: Grid) -> None:
    """Write the table of objects: see `objects_frame`."""
    frame = objects_frame(table, classes=names, grid=grid)
    with replacing(path) as partial:
        frame.to_csv(partial, sep="\t", index=False, float_format="%.9g", lineterminator="\n")
