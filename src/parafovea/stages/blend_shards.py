"""Stage blend_shards: combines the sums of a sample's shards into its prediction."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Grid, vector3
from parafovea.geometry.resample import apply_weights, box_weights
from parafovea.geometry.windows import Layout
from parafovea.inference.blended_shards import NO_WEIGHT, ShardFacts, blended
from parafovea.inference.blending import normalized, window_weights
from parafovea.models.context_alignment import padded_share
from parafovea.runtime.progress import tracked
from parafovea.settings.inference import InferenceSettings
from parafovea.storage.blocks import CHUNK, divided, output_block
from parafovea.storage.class_colours import shown_channels
from parafovea.storage.parts import part_record
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import Stored, create, open_stored

logger = logging.getLogger(__name__)


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
        (z, y, x) int64 of the shape of `box`; 0 outside of all windows.
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


def _layout(shards: Sequence[Stored], paths: Sequence[Path]) -> Layout:
    """Return the common layout of the shards, which must have been made alike."""
    same = ("layout", "inference", "model", "source", "volume", "precision", "engine")
    first = shards[0].attributes
    for shard, path in zip(shards, paths, strict=True):
        for key in same:
            if shard.attributes.get(key) != first.get(key):
                raise StoreError(
                    f"{path} and {paths[0]} were made with different {key}: delete both and run "
                    "infer_shard again"
                )
    return Layout.from_dict(first["layout"])


def blend_shards(
    shards: Sequence[Path],
    prediction: Path,
    *,
    output_scale: Sequence[float] = (1.0, 1.0, 1.0),
    block: int | None = None,
    blocks: int = 1,
) -> None:
    """Write the prediction: the shards' sums divided by the sum of weights.

    Parameters
    ----------
    shards : sequence of Path
        Shards of one sample, as `infer_shard` wrote them: all of them, or those that have sums
        of the block.
    prediction : Path
        OME-Zarr to write: (class, z, y, x) probabilities or refined bands; float32 for bands or
        after inference in float32, otherwise float16.
    output_scale : sequence of float
        Voxels of the prediction per voxel of the volume along z, y, x. The prediction starts at
        the volume's outer face; probabilities are interpolated linearly, or averaged for larger
        voxels.
    block : int or None
        Number of the block to write, from 1: the result is then a part, which `join_prediction`
        joins with the others. None for the whole.
    blocks : int
        Number of blocks of the prediction.

    Raises
    ------
    StoreError
        If shards are missing or inconsistent, or no window covers a voxel.
    """
    scales = vector3(output_scale)
    opened = [open_stored(path) for path in shards]
    layout = _layout(opened, shards)
    summed = [ShardFacts.of(shard) for shard in opened]
    made = opened[0].attributes
    settings = InferenceSettings.model_validate(made["inference"])
    means = _Means(opened, layout, settings)
    volume = Grid.from_dict(made["volume"])
    scaled = any(scale != 1 for scale in scales)
    spacing = [s / scale for s, scale in zip(volume.spacing, scales, strict=True)]
    grid = volume.resampled(spacing) if scaled else volume
    dtype = np.dtype(made.get("stored", "float32" if made["precision"] == "float32" else "float16"))
    shape = output_block(scales)
    region = divided(grid.shape, shape, blocks)[(block or 1) - 1]
    attributes = record(
        "blend_shards",
        **lineage(made),
        precision=made["precision"],
        blending={
            **layout.to_dict(),
            "mode": "constant" if settings.mode == "whole_volume" else settings.blending,
            "output_scale": list(scales),
            "uncovered_voxels": 0,
            "padded_context": _padded_context(layout, made),
        },
    )
    channels = opened[0].channels or ()
    with create(
        prediction,
        grid,
        dtype=dtype,
        channels=channels,
        chunk=[math.gcd(n, c) for n, c in zip(shape, CHUNK, strict=True)],
        shard=shape,
        attributes=attributes,
        levels="mean",
        shown=shown_channels(channels),
        box=region,
    ) as array:
        boxes = list(region.tiles(shape))
        for box in tracked(boxes, len(boxes), "boxes"):
            values = _resampled(means, volume, grid, box) if scaled else means.read(box, dtype)
            array[(slice(None), *box.slices)] = values
        if block is None:
            attributes |= blended(attributes["blending"], summed, means.least)
        else:
            facts = [each.to_dict() for each in summed]
            attributes |= part_record(region, shards=facts, least=means.least)


class _Means:
    """Blended probabilities of a volume, computed box by box."""

    def __init__(
        self, shards: Sequence[Stored], layout: Layout, settings: InferenceSettings
    ) -> None:
        self._shards = shards
        self._layout = layout
        self._weights = window_weights(settings, layout.window)
        self._views = settings.views
        #: Smallest sum of weights of one view over all voxels read so far.
        self.least = NO_WEIGHT

    def read(self, box: Box, dtype: Any) -> NDArray[Any]:
        """Return the probabilities (class, z, y, x) of a box of the volume."""
        total = summed_weights(self._layout, self._weights, box)
        uncovered = int(np.count_nonzero(total == 0))
        if uncovered:
            raise StoreError(f"{uncovered} voxels of {box} are covered by no window")
        self.least = min(self.least, int(total.min()))
        sums = _gathered(self._shards, box, len(self._shards[0].channels or ()))
        return normalized(sums, total * self._views, dtype)


def _resampled(means: _Means, volume: Grid, grid: Grid, box: Box) -> NDArray[np.float32]:
    """Return the probabilities (class, z, y, x) of a box of the output grid."""
    wz, wy, wx = box_weights(volume, grid, box)
    needed = Box((wz.start, wy.start, wx.start), (wz.stop, wy.stop, wx.stop))
    return np.stack([apply_weights(v, (wz, wy, wx)) for v in means.read(needed, np.float32)])


def _padded_context(layout: Layout, made: dict[str, Any]) -> float | None:
    """Return the share of the windows' context beyond the volume; None without context."""
    context = made.get("context")
    if context is None:
        return None
    zoom = context.get("zoom")
    return padded_share(layout, None if zoom is None else vector3(zoom))


def _gathered(shards: Sequence[Stored], box: Box, classes: int) -> NDArray[np.int64]:
    """Return the sums of all shards in a box of the volume, (class, z, y, x) int64."""
    total = np.zeros((classes, *box.shape), dtype=np.int64)
    for shard in shards:
        region = _region(shard)
        common = region.intersection(box)
        if common.size:
            place = (slice(None), *common.relative_to(box.start).slices)
            total[place] += shard.read(common.relative_to(region.start))
    return total
