"""Inputs are checked against the model before a window is predicted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tiny_sample import infer, smooth_volume, store_volume, tiny_inputs, tiny_model, tiny_recipe

from parafovea.errors import GridError, ModelError
from parafovea.geometry.grid import Grid
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.extract_features import extract_features

SHAPE = (16, 32, 32)


def other_spacing(folder: Path, inputs: ModelInputs) -> tuple[ModelInputs, dict[str, Any]]:
    grid = Grid(SHAPE, (8, 8, 9))
    volume = store_volume(folder / "other.zarr", smooth_volume(SHAPE), grid)
    return ModelInputs(volume, inputs.features, inputs.context), {}


def other_backbone(folder: Path, inputs: ModelInputs) -> tuple[ModelInputs, dict[str, Any]]:
    return inputs, {"backbone": {"name": "filterbank", "arguments": {"scales": [2.0]}}}


def other_context_backbone(folder: Path, inputs: ModelInputs) -> tuple[ModelInputs, dict[str, Any]]:
    return inputs, {"context": {"spacing": (16, 16, 16), "backbone": {"name": "raw"}}}


def other_context_spacing(folder: Path, inputs: ModelInputs) -> tuple[ModelInputs, dict[str, Any]]:
    return ModelInputs(inputs.volume, inputs.features, inputs.features), {}


def other_view_as_features(folder: Path, inputs: ModelInputs) -> tuple[ModelInputs, dict[str, Any]]:
    assert inputs.context is not None
    return ModelInputs(inputs.volume, inputs.context, inputs.context), {}


def no_context(folder: Path, inputs: ModelInputs) -> tuple[ModelInputs, dict[str, Any]]:
    return ModelInputs(inputs.volume, inputs.features), {}


def context_too_many(folder: Path, inputs: ModelInputs) -> tuple[ModelInputs, dict[str, Any]]:
    return inputs, {"context": None, "network": {"base_channels": 4, "fusion": "none"}}


def other_channels(folder: Path, inputs: ModelInputs) -> tuple[ModelInputs, dict[str, Any]]:
    return inputs, {"input_channels": 7}


def other_context_channels(folder: Path, inputs: ModelInputs) -> tuple[ModelInputs, dict[str, Any]]:
    return inputs, {"context_channels": 9}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            other_spacing,
            r"other\.zarr has voxels of \(8.0, 8.0, 9.0\) .* expects \(8.0, 8.0, 8.0\): run",
        ),
        (other_backbone, r"features\.zarr has features of .*'scales': \[1.0\].* run their stage"),
        (other_context_backbone, r"context\.zarr has features of .* trained with .*'raw'.*: run"),
        (
            other_context_spacing,
            r"computed with voxels of \[8.0, 8.0, 8.0\] .*\[16.0, .* run extract",
        ),
        (
            other_view_as_features,
            r"computed with voxels of \[16.0, 16.0, 16.0\] .*\[8.0, .* run extr",
        ),
        (no_context, "the sample has no context, but the model takes a context"),
        (context_too_many, "the sample has a context, but the model takes no context"),
        (
            other_channels,
            "tiny: the local input has 3 channels .*filterbank, but the network takes 7: use",
        ),
        (other_context_channels, "the context has 2 channels with .* but the network takes 9"),
    ],
)
def test_a_model_made_for_other_inputs_is_refused_and_leaves_no_output(
    tmp_path: Path,
    case: Callable[[Path, ModelInputs], tuple[ModelInputs, dict[str, Any]]],
    message: str,
) -> None:
    inputs = tiny_inputs(tmp_path / "sample", SHAPE, tiny_recipe())
    inputs, changes = case(tmp_path, inputs)
    channels = {k: changes.pop(k) for k in ("input_channels", "context_channels") if k in changes}
    recipe = tiny_recipe().model_copy()
    recipe = type(recipe).model_validate({**recipe.model_dump(), **changes})
    model = tiny_model(tmp_path / "model", recipe, **channels)
    with pytest.raises(ModelError, match=message) as caught:
        infer(inputs, model, tmp_path / "out.zarr", shard=1, settings=InferenceSettings())
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


@pytest.mark.parametrize(
    ("settings", "shard", "message"),
    [
        ({"window": (16, 20, 32)}, 1, r"inference.window: window \(16, 20, 32\) must be a mult"),
        ({"shards": 2}, 3, "shard 3 is not one of 1 to 2"),
        ({"shards": 2}, 0, "shard 0 is not one of 1 to 2"),
    ],
)
def test_windows_and_shards_that_cannot_be_are_refused(
    tmp_path: Path, settings: dict[str, Any], shard: int, message: str
) -> None:
    recipe = tiny_recipe(context=False)
    inputs = tiny_inputs(tmp_path / "sample", SHAPE, recipe)
    model = tiny_model(tmp_path / "model", recipe)
    with pytest.raises(GridError, match=message):
        infer(
            inputs,
            model,
            tmp_path / "out.zarr",
            shard=shard,
            settings=InferenceSettings(**settings),
        )
    assert not (tmp_path / "out.zarr").exists()


def test_the_volumes_unit_may_differ_from_the_recipes(tmp_path: Path) -> None:
    recipe = tiny_recipe(context=False)
    grid = Grid(SHAPE, (0.008,) * 3, unit="micrometer")
    volume = store_volume(tmp_path / "volume.zarr", smooth_volume(SHAPE), grid)
    extract_features(
        volume,
        tmp_path / "features.zarr",
        spacing=grid.spacing,
        backbone=recipe.backbone,
        dimensions=3,
    )
    inputs = SampleInputs(ModelInputs(volume, tmp_path / "features.zarr"), recipe)
    assert inputs.grid.converted("nanometer").spacing == pytest.approx(recipe.spacing)


def test_a_region_gives_a_window_what_the_volume_holds_there(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    paths = tiny_inputs(tmp_path, (20, 40, 40), recipe)
    inputs = SampleInputs(paths, recipe)
    assert (inputs.input_channels, inputs.context_channels) == (3, 2)
    region = inputs.read(inputs.grid.box.expanded((4, 4, 4)))
    box = inputs.grid.box.expanded((0, -4, 2))
    voxels = np.asarray(zarr.open_array(paths.volume / "0", mode="r")[:])
    wanted = np.pad(voxels, ((0, 0), (0, 0), (2, 2)), mode="reflect")[:, 4:-4]
    raw = region.raw_window(box)
    assert raw is not None
    np.testing.assert_array_equal(raw, wanted)
    tokens, weights = region.features.window(box)
    alone, same = inputs.read(box).features.window(box)
    np.testing.assert_array_equal(tokens, alone)
    assert [w.start for w in weights] == [w.start for w in same]
