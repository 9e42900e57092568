"""Which shards of windows have sums of a block of the prediction."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.geometry.resample import box_weights
from parafovea.geometry.windows import Layout
from parafovea.inference.window_plan import planned_layout, shard_count
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.storage.blocks import divided, output_block


def shards_of_block(
    volume: Grid, recipe: Recipe, settings: InferenceSettings, *, block: int, blocks: int
) -> list[int]:
    """Return the numbers of the shards whose windows cover voxels of a block.

    Parameters
    ----------
    volume : Grid
        Grid of the model's local view.
    recipe : Recipe
        Recipe of the model.
    settings : InferenceSettings
        Windows, shards and scale of the prediction.
    block, blocks : int
        Number of the block, from 1, and number of blocks of the prediction.

    Returns
    -------
    list of int
        Ascending, counted from 1; the first shard for a block without voxels.
    """
    layout = planned_layout(volume.shape, recipe, settings)
    starts, stops = _covered(layout, shard_count(layout, settings))
    scales = settings.output_scales
    needed = _boxes(volume, scales, blocks)[block - 1]
    if any(scale != 1 for scale in scales) and needed.size:
        spacing = [s / scale for s, scale in zip(volume.spacing, scales, strict=True)]
        axes = box_weights(volume, volume.resampled(spacing), needed)
        needed = Box(shape3([a.start for a in axes]), shape3([a.stop for a in axes]))
    touches = ((starts < needed.stop) & (stops > needed.start) & (starts < stops)).all(axis=1)
    return [int(number) + 1 for number in np.flatnonzero(touches)] or [1]


@functools.lru_cache(maxsize=8)
def _boxes(volume: Grid, scales: tuple[float, float, float], blocks: int) -> list[Box]:
    """Return the boxes of all blocks of the prediction, on its own grid."""
    spacing = [s / scale for s, scale in zip(volume.spacing, scales, strict=True)]
    scaled = any(scale != 1 for scale in scales)
    shape = volume.resampled(spacing).shape if scaled else volume.shape
    return divided(shape, output_block(scales), blocks)


@functools.lru_cache(maxsize=8)
def _covered(layout: Layout, shards: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first voxel, and one past the last, that each shard covers: (shards, 3)."""
    empty = Box((0, 0, 0), (0, 0, 0))
    boxes = [layout.covered(part) if part.size else empty for part in layout.shards(shards)]
    return np.array([box.start for box in boxes]), np.array([box.stop for box in boxes])
