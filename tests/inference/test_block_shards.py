"""A block of the prediction waits for the shards that have sums of it, and for no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_sample import tiny_recipe

from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.windows import Layout
from parafovea.inference.block_shards import BlockShards
from parafovea.inference.window_plan import planned_layout
from parafovea.settings.inference import InferenceSettings
from parafovea.storage.blocks import divided, output_block

SHAPE = (70, 270, 200)


@pytest.mark.parametrize("shards", [1, 3, 7, 40])
@pytest.mark.parametrize("blocks", [1, 2, 5, 30])
def test_the_shards_of_a_block_are_those_whose_windows_touch_it(shards: int, blocks: int) -> None:
    recipe, settings = tiny_recipe(), InferenceSettings(overlap=0.25, shards=shards)
    found = BlockShards(Grid(SHAPE, recipe.spacing), recipe, settings, blocks=blocks)
    layout = planned_layout(SHAPE, recipe, settings)
    parts = layout.shards(shards)
    needed = set()
    for block, box in enumerate(divided(SHAPE, output_block((1, 1, 1)), blocks), start=1):
        touching = {
            number
            for number, part in enumerate(parts, start=1)
            if part.size and any(w.intersection(box).size for w in layout.windows(part))
        }
        assert set(found.of(block)) == (touching or {1})
        needed |= touching
    assert needed == {number for number, part in enumerate(parts, start=1) if part.size}


def covered(layout: Layout, part: Box, middle: list[int]) -> tuple[Any, ...]:
    box = layout.covered(part)
    return box.start, middle, box.stop


@pytest.mark.parametrize("scale", [(2.0, 2.0, 2.0), (1.0, 0.5, 0.25)])
def test_a_scaled_prediction_waits_for_what_its_voxels_are_made_of(
    scale: tuple[float, float, float],
) -> None:
    recipe = tiny_recipe()
    settings = InferenceSettings(overlap=0.0, shards=12, output_scale=scale)
    found = BlockShards(Grid(SHAPE, recipe.spacing), recipe, settings, blocks=6)
    layout = planned_layout(SHAPE, recipe, settings)
    parts = layout.shards(12)
    grid = Grid(SHAPE, recipe.spacing)
    fine = grid.resampled([s / k for s, k in zip(recipe.spacing, scale, strict=True)])
    for block, box in enumerate(divided(fine.shape, output_block(scale), 6), start=1):
        if not box.size:
            continue
        corners = [grid.index(fine.world(corner)) for corner in (box.start, box.stop)]
        middle = [
            int(np.clip((a + b) / 2, 0, n - 1)) for a, b, n in zip(*corners, SHAPE, strict=True)
        ]
        owner = next(
            number
            for number, part in enumerate(parts, start=1)
            if all(a <= m < b for a, m, b in zip(*covered(layout, part, middle), strict=True))
        )
        assert owner in found.of(block)
