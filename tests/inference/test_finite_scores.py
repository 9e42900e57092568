"""Scores and features that are not finite stop the sample: with window, layer and value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoint import WINDOW, upstream_content, upstream_weights, write_checkpoint
from tiny_sample import (
    infer,
    random_network,
    smooth_volume,
    store_volume,
    tiny_inputs,
    tiny_model,
    tiny_recipe,
    tiny_refinement,
    tiny_spec,
)

from parafovea import load_inference_model
from parafovea.errors import ModelError, ScoreError, VoxelError
from parafovea.inference.execution import Execution
from parafovea.inference.finite_scores import all_finite
from parafovea.inference.tile_batches import TileModel
from parafovea.inference.window_predictors import Computation
from parafovea.models.folder import load_model, save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.runtime.optional_packages import is_installed
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.stages.extract_features import extract_features

SHAPE = (16, 48, 48)
CPU = torch.device("cpu")

RECIPES: dict[str, Callable[[], Recipe]] = {
    "segmentation": tiny_recipe,
    "detection": lambda: tiny_recipe(kind="detection", classes=("nodule",)),
    "refinement": tiny_refinement,
}


def overflowing(folder: Path, recipe: Recipe, *, layer: str = "enc2.0.weight") -> Path:
    """Write a model whose finite weights make scores of infinity or NaN."""
    spec = tiny_spec(recipe)
    network = random_network(FusedUNet.from_spec(spec))
    network.get_parameter(layer).data.fill_(2e38)
    save_model(folder, spec, network, exact=True)
    return folder


@pytest.mark.parametrize("kind", list(RECIPES))
@pytest.mark.parametrize("settings", [{}, {"mode": "whole_volume"}, {"precision": "bfloat16"}])
def test_scores_that_overflow_stop_a_shard_of_any_kind(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    recipe = RECIPES[kind]()
    shape = (2, 48, 48) if recipe.bands else SHAPE
    inputs = tiny_inputs(tmp_path, shape, recipe)
    model = overflowing(tmp_path / "model", recipe)
    with pytest.raises(
        ScoreError,
        match=r"\d+ of \d+ scores of the window \[.*\] are not finite: output 0 is (nan|-?inf) at "
        r"voxel \(0, 0, 0\), from layer enc2\.0, in (float32|bfloat16): check .*precision: float32",
    ):
        infer(
            inputs, model, tmp_path / "sums.zarr", shard=1, settings=InferenceSettings(**settings)
        )
    assert not (tmp_path / "sums.zarr").exists()


def test_the_layer_is_named_as_in_the_model_folder(tmp_path: Path) -> None:
    inputs = tiny_inputs(tmp_path, SHAPE, tiny_recipe())
    for layer in ("bottleneck.0.weight", "dec3.3.weight", "final_conv.weight"):
        model = overflowing(tmp_path / layer, tiny_recipe(), layer=layer)
        named = layer.removesuffix(".weight").replace(".", r"\.")
        with pytest.raises(ScoreError, match=f"from layer {named}"):
            infer(inputs, model, tmp_path / "s.zarr", shard=1, settings=InferenceSettings())


@pytest.mark.parametrize(
    "settings",
    [
        {"tta": ["flip_x"]},
        pytest.param(
            {"engine": "openvino"},
            marks=pytest.mark.skipif(not is_installed("openvino"), reason="no OpenVINO"),
        ),
        {"do_eval": False},
    ],
)
def test_views_and_engines_are_checked_too(tmp_path: Path, settings: dict[str, Any]) -> None:
    recipe = tiny_recipe(context=False)
    inputs = tiny_inputs(tmp_path, SHAPE, recipe)
    model = overflowing(tmp_path / "model", recipe, layer="final_conv.weight")
    views = []
    if "tta" in settings:
        turned = tmp_path / "turned.zarr"
        extract_features(
            inputs.volume, turned, spacing=recipe.spacing, backbone=recipe.backbone,
            dimensions=3, augmentation="flip_x",
        )  # fmt: skip
        views = [replace(inputs, features=turned, augmentation="flip_x")]
    with pytest.raises(ScoreError, match=r"scores of the window .* are not finite"):
        infer(
            inputs, model, tmp_path / "s.zarr", views=views, shard=1,
            settings=InferenceSettings(**settings),
        )  # fmt: skip


def test_features_that_are_not_finite_are_the_origin(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    inputs = tiny_inputs(tmp_path, SHAPE, recipe)
    model = overflowing(tmp_path / "model", recipe, layer="input_conv.weight")
    with pytest.raises(ScoreError, match="from the projected features"):
        infer(inputs, model, tmp_path / "s.zarr", shard=1, settings=InferenceSettings())


def test_tiles_in_memory_name_the_image(tmp_path: Path) -> None:
    recipe = tiny_refinement()
    spec, network = load_model(overflowing(tmp_path / "model", recipe))
    model = TileModel(
        spec, network, settings=InferenceSettings(), execution=Execution(CPU, 2),
        computation=Computation("torch", torch.float32),
    )  # fmt: skip
    images = np.random.default_rng(0).random((2, 4, 32, 32), np.float32)
    with pytest.raises(ScoreError, match=r"at voxel \(0, 0, 0\), from layer enc2\.0"):
        model(images, conditions={"month": [1, 2], "biome": [1, 2]})


def test_arrays_in_memory_and_upstream_models_are_checked(tmp_path: Path, vit: Path) -> None:
    volume = (255 * smooth_volume(WINDOW).astype(np.float32)).astype(np.uint8)
    folder = overflowing(tmp_path / "model", tiny_recipe(context=False))
    with pytest.raises(ScoreError, match=r"from layer enc2\.0"):
        load_inference_model(folder, device="cpu").predict(volume)
    weights = upstream_weights()
    weights["enc2.0.weight"].fill_(2e38)
    write_checkpoint(tmp_path / "best.pkl", upstream_content(weights))
    upstream = load_inference_model(tmp_path / "best.pkl", weights=str(vit), device="cpu")
    with pytest.raises(
        ScoreError, match=r"scores of the window .* are not finite, in torch\.float32"
    ):
        upstream.predict(volume)


def test_weights_that_overflow_in_the_precision_of_the_run_are_refused(tmp_path: Path) -> None:
    spec = tiny_spec(tiny_recipe())
    network = random_network(FusedUNet.from_spec(spec))
    network.get_submodule("enc1.1").running_var.fill_(-1.0)
    save_model(tmp_path / "model", spec, network)
    inputs = tiny_inputs(tmp_path, SHAPE, tiny_recipe())
    with pytest.raises(ModelError, match=r"values of layer enc1\.0\.\w+ are NaN or infinite, once"):
        infer(inputs, tmp_path / "model", tmp_path / "s.zarr", shard=1, settings={})


def test_a_model_with_weights_that_are_not_finite_is_not_written(tmp_path: Path) -> None:
    spec = tiny_spec(tiny_recipe())
    network = random_network(FusedUNet.from_spec(spec))
    network.get_parameter("final_conv.bias").data[0] = torch.inf
    with pytest.raises(ModelError, match=r"1 of 3 values of layer final_conv\.bias are NaN"):
        save_model(tmp_path / "model", spec, network)
    assert not (tmp_path / "model").exists()


def test_a_kernel_that_float16_cannot_hold_is_kept(tmp_path: Path) -> None:
    spec = tiny_spec(tiny_recipe())
    network = random_network(FusedUNet.from_spec(spec))
    network.get_parameter("enc1.0.weight").data[0, 0, 0, 0, 0] = 1e6
    save_model(tmp_path / "model", spec, network)
    _, stored = load_model(tmp_path / "model")
    assert stored.get_parameter("enc1.0.weight")[0, 0, 0, 0, 0] == 1e6


def test_a_float64_weight_that_overflows_float32_is_not_imported(tmp_path: Path) -> None:
    weights = upstream_weights()
    weights["final_conv.bias"] = torch.full((3,), 1e300, dtype=torch.float64)
    write_checkpoint(tmp_path / "best.pkl", upstream_content(weights))
    with pytest.raises(ModelError, match=r"layer final_conv\.bias are NaN or infinite in float32"):
        load_inference_model(tmp_path / "best.pkl", device="cpu")


def test_features_that_overflow_float16_stop_where_they_are_made(tmp_path: Path) -> None:
    values = smooth_volume((8, 16, 16)).astype(np.float32)
    values[3, 4, 5] = 6e4
    volume = store_volume(tmp_path / "volume.ome.zarr", values.astype(np.float16))
    # a structure tensor is of the square of the values
    structure = {"name": "filterbank", "arguments": {"scales": [1.0], "kinds": ["structure"]}}
    with pytest.raises(ScoreError, match=r"features of the block .* float16: channel \S+ is inf"):
        extract_features(
            volume, tmp_path / "features.zarr", spacing=(8, 8, 8),
            backbone=structure, dimensions=3,
        )  # fmt: skip
    assert not (tmp_path / "features.zarr").exists()


def test_an_array_that_overflows_after_normalization_is_refused(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        context=False, normalization={"method": "window", "low": 0, "high": 1e-3, "clip": False}
    )
    inference = load_inference_model(tiny_model(tmp_path / "m", recipe), device="cpu")
    with pytest.raises(VoxelError, match="above the float16 maximum"):
        inference.predict(1000 * smooth_volume((16, 32, 32)).astype(np.float32))


def test_a_finite_sum_is_not_needed_for_finite_values() -> None:
    assert all_finite(torch.full((100,), 3e38))
    assert not all_finite(torch.tensor([1.0, torch.nan]))
    assert not all_finite(torch.tensor([torch.inf, -torch.inf]))


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_settings_are_finite(number: str) -> None:
    value = float(number.replace(".", ""))
    with pytest.raises(ValueError, match="finite number"):
        tiny_recipe(normalization={"method": "window", "low": 0, "high": value})
    with pytest.raises(ValueError, match=r"finite number|greater than"):
        InferenceSettings(sigma=value)
