"""Stage blend: one prediction for the whole sample, from the sums of its shards."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parafovea.blending import WEIGHT_BITS, fixed_weights, importance_map, normalized
from parafovea.errors import StoreError
from parafovea.grid import Box, Grid
from parafovea.inference.settings import InferenceSettings
from parafovea.progress import tracked
from parafovea.provenance import lineage, record
from parafovea.store import Stored, create, open_stored
from parafovea.windows import Layout

logger = logging.getLogger(__name__)

#: Voxels that are blended at once: a shard file of the prediction.
BLOCK = (64, 128, 128)


def summed_weights(layout: Layout, weights: NDArray[np.int64], box: Box) -> NDArray[np.int64]:
    """Return the sum of all windows' weights over a box of the volume.

    Parameters
    ----------
    layout : Layout
        The windows.
    weights : ndarray
        (z, y, x) int64, the fixed-point importance map of a window.
    box : Box
        Voxels of the volume.

    Returns
    -------
    ndarray
        (z, y, x) int64 of the shape of `box`; 0 where no window reaches.
    """
    total = np.zeros(box.shape, dtype=np.int64)
    for window in layout.windows(layout.touching(box)):
        common = window.intersection(box)
        total[common.relative_to(box.start).slices] += weights[
            common.relative_to(window.start).slices
        ]
    return total


def _region(shard: Stored) -> Box:
    start, stop = (tuple(corner) for corner in shard.attributes["region"])
    return Box(start, stop)


def _complete(shards: Sequence[Stored], paths: Sequence[Path]) -> Layout:
    """Return the common layout of the shards, which must hold every window once."""
    same = ("layout", "inference", "model", "source", "volume", "precision", "engine")
    first = shards[0].attributes
    for shard, path in zip(shards, paths, strict=True):
        for key in same:
            if shard.attributes.get(key) != first.get(key):
                raise StoreError(
                    f"{path} and {paths[0]} were made with different {key}: delete both and run "
                    "infer_shard again"
                )
    layout = Layout.from_dict(first["layout"])
    held = np.zeros(layout.lattice.shape, dtype=np.int64)
    for shard in shards:
        start, stop = (tuple(corner) for corner in shard.attributes["part"])
        held[Box(start, stop).slices] += 1
    if (held != 1).any():
        raise StoreError(
            f"of {held.size} windows the shards miss {np.count_nonzero(held == 0)} and repeat "
            f"{np.count_nonzero(held > 1)}: delete {paths[0].parent} and run infer_shard again"
        )
    return layout


def blend_shards(shards: Sequence[Path], output: Path) -> None:
    """Divide the shards' sums by the sum of weights and write the prediction.

    Parameters
    ----------
    shards : sequence of Path
        All shards of one sample, as `infer_shard` wrote them.
    output : Path
        OME-Zarr to write: (class, z, y, x) probabilities; float32 where inference ran in float32,
        else float16.

    Raises
    ------
    StoreError
        If shards are missing or do not belong together, or a voxel is covered by no window.
    """
    opened = [open_stored(path) for path in shards]
    layout = _complete(opened, shards)
    made = opened[0].attributes
    settings = InferenceSettings.model_validate(made["inference"])
    weights = fixed_weights(importance_map(settings.blending, layout.window, sigma=settings.sigma))
    grid = Grid.from_dict(made["volume"])
    dtype = np.float32 if made["precision"] == "float32" else np.float16
    classes = opened[0].channels or ()
    least, uncovered = np.iinfo(np.int64).max, 0
    attributes = record("blend_shards", **lineage(made), precision=made["precision"])
    with create(
        output, grid, dtype=dtype, channels=classes, shard=BLOCK, attributes=attributes
    ) as array:
        boxes = list(grid.box.tiles(BLOCK))
        for box in tracked(boxes, len(boxes), "blocks"):
            total = summed_weights(layout, weights, box)
            least = min(least, int(total.min()))
            uncovered += int(np.count_nonzero(total == 0))
            if uncovered:
                raise StoreError(f"{uncovered} voxels of {box} are covered by no window")
            sums = _gathered(opened, box, len(classes))
            array[(slice(None), *box.slices)] = normalized(sums, total, dtype)
        attributes["blending"] = {
            **layout.to_dict(),
            "mode": settings.blending,
            "minimum_weight": least / 2.0**WEIGHT_BITS,
            "uncovered_voxels": uncovered,
        }


def _gathered(shards: Sequence[Stored], box: Box, classes: int) -> NDArray[np.int64]:
    """Return the sums of all shards over a box of the volume, (class, z, y, x) int64."""
    total = np.zeros((classes, *box.shape), dtype=np.int64)
    for shard in shards:
        region = _region(shard)
        common = region.intersection(box)
        if common.size:
            place = (slice(None), *common.relative_to(box.start).slices)
            total[place] += shard.read(common.relative_to(region.start))
    return total
