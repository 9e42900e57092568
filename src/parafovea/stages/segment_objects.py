"""Stage segment_objects: cleaned classes, numbered objects and their table."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Grid
from parafovea.postprocess.segmentation.classify import classify
from parafovea.postprocess.segmentation.clean import with_filled_holes, without_small
from parafovea.postprocess.segmentation.components import ReadSlab, slabs
from parafovea.postprocess.segmentation.objects import (
    Numbering,
    Voxels,
    number_objects,
    objects_frame,
    renumber_objects,
    split_objects,
)
from parafovea.runtime.progress import tracked
from parafovea.settings.postprocess import ClassSettings, Connectivity, Method, resolve_classes
from parafovea.storage.blocks import CHUNK, LABEL_SHARD, SLAB_PLANES
from parafovea.storage.class_colours import shown_classes
from parafovea.storage.linked_images import link_image
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import (
    Stored,
    beside,
    chunk_shape,
    create,
    discard,
    open_stored,
    replacing,
)

Array = np.ndarray[Any, Any]

_LOG = logging.getLogger(__name__)


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
    planes: int = SLAB_PLANES,
) -> None:
    """Derive classes and objects from class probabilities.

    The steps are: class of each voxel, removal of small components, filling of holes, labelling,
    splitting. Memory is bounded by a slab of planes and the largest object that is split.

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
    planes : int
        Planes of a slab; results do not depend on it.

    Raises
    ------
    ConfigError
        If `class_settings` names an unknown class.
    StoreError
        If the prediction is missing, damaged or without classes.
    VoxelError
        If a probability is NaN.
    """
    source = open_stored(prediction)
    if source.channels is None or len(source.channels) < 2:
        raise StoreError(f"{prediction} has no classes: it is not the prediction of a segmentation")
    chosen = {name: ClassSettings.model_validate(each) for name, each in class_settings.items()}
    settings = resolve_classes(chosen, source.channels)
    attributes = _provenance(source, method, connectivity, settings)
    boxes = slabs(source.grid.shape, planes)
    scratch = beside(objects, "scratch")
    with (
        _labels(classes, source.grid, np.uint8, attributes, source.channels) as class_array,
        _labels(objects, source.grid, np.uint32, attributes) as object_array,
        replacing(table) as table_path,
    ):
        for box in tracked(boxes, len(boxes), "slabs classified"):
            class_array[box.slices] = _classified(source, box, method, settings)
        read = _reader(class_array)
        _clean(class_array, read, boxes, settings, connectivity)
        numbering = _number(object_array, scratch, read, boxes, source.grid, settings, connectivity)
        attributes["objects"] = len(numbering.table)
        attributes["unsplit_objects"] = numbering.unsplit
        frame = objects_frame(numbering.table, classes=source.channels, grid=source.grid)
        frame.to_csv(table_path, sep="\t", index=False, float_format="%.9g", lineterminator="\n")
    if image is not None and volume is not None:
        link_image(image, volume, {"classes": classes, "objects": objects})
    if numbering.unsplit:
        _LOG.warning(
            "%d objects of %s were not split: their bounding boxes are too large",
            numbering.unsplit,
            objects,
        )


def _labels(
    path: Path,
    grid: Grid,
    dtype: np.typing.DTypeLike,
    attributes: dict[str, Any],
    names: Sequence[str] = (),
) -> contextlib.AbstractContextManager[zarr.Array[Any]]:
    return create(
        path,
        grid,
        dtype=dtype,
        shard=LABEL_SHARD,
        attributes=attributes,
        labels=True,
        levels="mode",
        shown=shown_classes(names),
    )


def _reader(array: zarr.Array[Any]) -> ReadSlab:
    return lambda box: np.asarray(array[box.slices])


def _classified(
    source: Stored, box: Box, method: Method, settings: Sequence[ClassSettings]
) -> Array:
    classes = np.empty(box.shape, np.uint8)
    thresholds = [s.threshold for s in settings]
    # By tiles, since all classes of a slab would take many times its memory.
    for tile in box.tiles((box.shape[0], *LABEL_SHARD[1:])):
        found = classify(source.read(tile), method=method, thresholds=thresholds)
        classes[tile.relative_to(box.start).slices] = found
    return classes


def _clean(
    classes: Voxels,
    read: ReadSlab,
    boxes: Sequence[Box],
    settings: Sequence[ClassSettings],
    connectivity: int,
) -> None:
    if any(s.min_voxels > 1 for s in settings):
        least = [s.min_voxels for s in settings]
        for box, slab in without_small(read, boxes, least, connectivity=connectivity):
            classes[box.slices] = slab
    if any(s.fill_holes for s in settings):
        fills = [s.fill_holes for s in settings]
        for box, slab in with_filled_holes(read, boxes, fills, connectivity=connectivity):
            classes[box.slices] = slab


def _number(
    target: zarr.Array[Any],
    scratch: Path,
    read: ReadSlab,
    boxes: Sequence[Box],
    grid: Grid,
    settings: Sequence[ClassSettings],
    connectivity: int,
) -> Numbering:
    if all(s.split_distance is None or not s.instances for s in settings):
        return number_objects(read, boxes, target, settings=settings, connectivity=connectivity)
    with _scratch(scratch, grid) as ids:
        whole = number_objects(read, boxes, ids, settings=settings, connectivity=connectivity)
        split = split_objects(
            ids,
            whole,
            shape=grid.shape,
            spacing=grid.spacing,
            settings=settings,
            connectivity=connectivity,
        )
        return Numbering(renumber_objects(ids, read, boxes, target), split.unsplit)


@contextlib.contextmanager
def _scratch(path: Path, grid: Grid) -> Iterator[zarr.Array[Any]]:
    """Yield a temporary array with chunks but no shards, so that small boxes are cheap to write."""
    discard(path)
    try:
        yield zarr.create_array(
            path,
            shape=grid.shape,
            chunks=chunk_shape(grid.shape, CHUNK),
            dtype=np.uint32,
            fill_value=0,
        )
    finally:
        discard(path)


def _provenance(
    source: Stored, method: str, connectivity: int, settings: Sequence[ClassSettings]
) -> dict[str, Any]:
    names = source.channels or ()
    choices = zip(names[1:], settings, strict=True)
    return record(
        "segment_objects",
        **lineage(source.attributes),
        classes=list(names),
        postprocess={
            "method": method,
            "connectivity": connectivity,
            "classes": {name: choice.model_dump() for name, choice in choices},
        },
    )
