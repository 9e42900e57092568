"""Which shards of windows have sums of a block of the prediction."""

from __future__ import annotations

import numpy as np

from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.geometry.resample import box_weights
from parafovea.inference.window_plan import planned_layout, shard_count
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.storage.blocks import divided, output_block


class BlockShards:
    """The shards of a volume by the blocks of its prediction.

    Parameters
    ----------
    volume : Grid
        Grid of the model's local view.
    recipe : Recipe
        Recipe of the model.
    settings : InferenceSettings
        Windows, shards and scale of the prediction.
    blocks : int
        Number of blocks of the prediction.
    """

    def __init__(
        self, volume: Grid, recipe: Recipe, settings: InferenceSettings, *, blocks: int
    ) -> None:
        scales = settings.output_scales
        spacing = [s / scale for s, scale in zip(volume.spacing, scales, strict=True)]
        scaled = any(scale != 1 for scale in scales)
        self._volume = volume
        self._grid = volume.resampled(spacing) if scaled else volume
        self._boxes = divided(self._grid.shape, output_block(scales), blocks)
        layout = planned_layout(volume.shape, recipe, settings)
        parts = layout.shards(shard_count(layout, settings))
        nothing = Box((0, 0, 0), (0, 0, 0))
        covered = [layout.covered(part) if part.size else nothing for part in parts]
        # the first voxel, and one past the last, that each shard covers: (shards, 3)
        self._starts = np.array([box.start for box in covered])
        self._stops = np.array([box.stop for box in covered])

    def of(self, block: int) -> list[int]:
        """Return the numbers of the shards whose windows cover voxels of a block.

        Parameters
        ----------
        block : int
            Number of the block, from 1.

        Returns
        -------
        list of int
            Ascending, counted from 1; the first shard for a block without voxels.
        """
        needed = self._boxes[block - 1]
        if not needed.size:
            return [1]
        if self._grid is not self._volume:
            axes = box_weights(self._volume, self._grid, needed)
            needed = Box(shape3([a.start for a in axes]), shape3([a.stop for a in axes]))
        starts, stops = self._starts, self._stops
        touches = (starts < needed.stop) & (stops > needed.start) & (starts < stops)
        return [int(number) + 1 for number in np.flatnonzero(touches.all(axis=1))]
