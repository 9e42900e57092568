"""Stores of classes, objects and pieces of objects, and their record."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Grid, Shape
from parafovea.settings.postprocess import Method
from parafovea.storage.blocks import LABEL_SHARD
from parafovea.storage.class_colours import shown_classes
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import Stored, create, open_stored

if TYPE_CHECKING:
    from parafovea.postprocess.segmentation.steps import Steps

_LOG = logging.getLogger(__name__)

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
    path: Path,
    grid: Grid,
    dtype: np.typing.DTypeLike,
    attributes: dict[str, Any],
    box: Box | None = None,
) -> contextlib.AbstractContextManager[zarr.Array[Any]]:
    """Create a pyramid of labels of whole tiles, or the part of a box: see `create`."""
    return create(
        path,
        grid,
        dtype=dtype,
        shard=LABEL_SHARD,
        attributes=attributes,
        labels=True,
        levels="mode",
        box=box,
    )


def create_classes(
    path: Path,
    grid: Grid,
    names: Sequence[str],
    attributes: dict[str, Any],
    box: Box | None = None,
    *,
    final: bool = True,
) -> contextlib.AbstractContextManager[zarr.Array[Any]]:
    """Create a label image of classes, or the part of a box: a pyramid if no step changes them."""
    return create(
        path,
        grid,
        dtype=np.uint8,
        shard=LABEL_SHARD,
        attributes=attributes,
        labels=True,
        levels="mode" if final else None,
        shown=shown_classes(names),
        box=box,
    )


def create_pieces(path: Path, grid: Grid) -> contextlib.AbstractContextManager[zarr.Array[Any]]:
    """Create an array of the pieces of split objects, with files where there are any."""
    return create(
        path, grid, dtype=np.uint32, chunk=PIECE_CHUNK, shard=None, labels=True, sparse=True
    )


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


def class_names(labels: Stored) -> tuple[str, ...]:
    """Return the names of all classes, the background first, from a record of labels."""
    return tuple(labels.attributes["classes"])


def object_counts(objects: int, unsplit: int) -> dict[str, int]:
    """Return what the record of labels states of their objects."""
    return {"objects": objects, "unsplit_objects": unsplit}


def warn_unsplit(count: int, where: object) -> None:
    """Warn of objects that are not split."""
    if count:
        _LOG.warning(
            "%d objects of %s were not split: their bounding boxes are too large", count, where
        )
