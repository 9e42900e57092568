"""The loop over windows: each window once, mirrored where the volume ends, weighed inside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sample import (
    BACKBONE,
    random_network,
    smooth_volume,
    store_volume,
    tiny_inputs,
    tiny_recipe,
    tiny_spec,
)

from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.windows import Layout
from parafovea.inference.blending import VALUE_BITS
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.inference.window_loop import columns, predicted, weighed
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.storage.provenance import record
from parafovea.storage.store import create, open_stored

CPU = torch.device("cpu")


def predictor_for(recipe_spec: object, batch_size: int = 1) -> Predictor:
    network = random_network(FusedUNet.from_spec(recipe_spec))  # type: ignore[arg-type]
    return Predictor(network, device=CPU, dtype=torch.float32, batch_size=batch_size)


@settings(max_examples=30)
@given(st.tuples(*[st.integers(0, 4)] * 3), st.tuples(*[st.integers(0, 8)] * 3))
def test_columns_hold_every_window_of_a_shard_once(
    start: tuple[int, int, int], shape: tuple[int, int, int]
) -> None:
    part = Box.sized(start, shape)
    seen = np.zeros((12, 12, 12), dtype=int)
    for column in columns(part):
        seen[column.slices] += 1
    assert (seen[part.slices] == 1).all()
    assert seen.sum() == part.size


def test_what_lies_outside_of_the_volume_is_cut_off() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((2, 4, 6, 8)).astype(np.float32)
    weights = rng.integers(1, 2**30, (4, 6, 8))
    inside, values = weighed(
        Box((-1, 2, -3), (3, 8, 5)), probabilities, weights, Box.whole((2, 6, 5))
    )
    assert inside == Box((0, 2, 0), (2, 6, 5))
    wanted = np.rint(probabilities * 2.0**VALUE_BITS).astype(np.int64) * weights
    np.testing.assert_array_equal(values, wanted[:, 1:3, :4, 3:])


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("context", [True, False])
def test_every_window_is_predicted_once_as_if_it_were_alone(
    tmp_path: Path, dimensions: int, context: bool
) -> None:
    recipe = tiny_recipe(dimensions=dimensions, context=context)
    shape = (3, 50, 60) if dimensions == 2 else (20, 50, 40)
    inputs = SampleInputs(tiny_inputs(tmp_path, shape, recipe), recipe)
    predictor = predictor_for(tiny_spec(recipe))
    layout = Layout.regular(shape, recipe.window, overlap=0.5)
    found = dict(predicted(inputs, predictor, layout, layout.lattice))
    assert sorted(found, key=lambda b: b.start) == list(layout.windows())
    for box, probabilities in found.items():
        alone = predictor(inputs.read(box), [box])[0]
        assert probabilities.shape == (3, *recipe.window)
        np.testing.assert_array_equal(probabilities, alone)
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    assert np.std([p.mean(axis=(1, 2, 3)) for p in found.values()], axis=0).max() > 0


def test_a_window_is_the_same_wherever_it_stands_in_a_batch(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    inputs = SampleInputs(tiny_inputs(tmp_path, (16, 48, 64), recipe), recipe)
    predictor = predictor_for(tiny_spec(recipe), batch_size=3)
    layout = Layout.regular((16, 48, 64), recipe.window, overlap=0.5)
    boxes = list(layout.windows())[:3]
    region = inputs.read(inputs.grid.box)
    together = predictor(region, boxes)
    turned = predictor(region, boxes[::-1])[::-1]
    alone = [predictor(region, [box])[0] for box in boxes]
    np.testing.assert_array_equal(together, turned)
    np.testing.assert_array_equal(together, np.stack(alone))


def _store_raw_tokens(path: Path, volume: Path) -> Path:
    stored = open_stored(volume)
    voxels = stored.read()
    facts = {"backbone": {"revision": None, **BACKBONE}, "view_spacing": [8.0, 8.0, 8.0]}
    grid = Grid(voxels.shape, (8, 8, 8))
    tokens = np.stack([voxels, np.square(voxels)])
    attributes = record("extract_features", features=facts, volume=stored.attributes)
    with create(path, grid, dtype=np.float16, channels=["a", "b"], attributes=attributes) as array:
        array[:] = tokens
    return path


@pytest.mark.parametrize("shape", [(10, 40, 32), (9, 20, 25), (3, 32, 40)])
def test_a_volume_smaller_than_a_window_is_as_if_padded_by_reflection_and_cropped(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    recipe = tiny_recipe(context=False)
    predictor = predictor_for(tiny_spec(recipe))
    small = smooth_volume(shape)
    layout = Layout.regular(shape, recipe.window, overlap=0.5)
    first, last = (list(layout.windows())[i] for i in (0, -1))
    reach = first.union(last)
    pads = [(-min(0, a), max(0, b - n)) for a, b, n in zip(reach.start, reach.stop, shape)]  # noqa: B905
    large = np.pad(small, pads, mode="reflect")
    found = []
    for name, voxels in (("small", small), ("large", large)):
        volume = store_volume(tmp_path / f"{name}.zarr", voxels)
        tokens = _store_raw_tokens(tmp_path / f"{name}_tokens.zarr", volume)
        found.append(SampleInputs(ModelInputs(volume, tokens), recipe))
    inside, padded = found
    assert open_stored(tmp_path / "large.zarr").grid.shape != shape
    for box in layout.windows():
        there = box.shifted([before for before, _ in pads])
        np.testing.assert_array_equal(
            predictor(inside.read(box), [box]), predictor(padded.read(there), [there])
        )
