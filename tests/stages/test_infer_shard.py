"""Shards of a sample: bits that do not depend on how many there are, and what made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sample import tiny_inputs, tiny_model, tiny_recipe

from parafovea.errors import GridError
from parafovea.grid import Box
from parafovea.inference.inputs import ModelInputs, SampleInputs
from parafovea.inference.predictor import Predictor
from parafovea.inference.settings import InferenceSettings
from parafovea.models.folder import file_sha256, load_model
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.infer_shard import infer_shard
from parafovea.store import open_stored


def predict(
    folder: Path, inputs: ModelInputs, model: Path, **settings: Any
) -> np.ndarray[Any, Any]:
    """Return the blended prediction of all shards, (class, z, y, x)."""
    chosen = InferenceSettings(**{"shards": 1, **settings})
    assert chosen.shards != "auto"
    paths = [folder / f"{number}.zarr" for number in range(1, chosen.shards + 1)]
    for number, path in enumerate(paths, start=1):
        infer_shard(inputs, model, path, shard=number, settings=chosen)
    blend_shards(paths, folder / "prediction.ome.zarr")
    return open_stored(folder / "prediction.ome.zarr").read()


@pytest.mark.parametrize("precision", ["float32", "auto"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_one_shard_equals_five_shards_bit_for_bit(
    tmp_path: Path, precision: str, batch_size: int
) -> None:
    recipe = tiny_recipe()
    inputs = tiny_inputs(tmp_path, (24, 48, 64), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    one, five = (
        predict(
            tmp_path / str(shards),
            inputs,
            model,
            shards=shards,
            precision=precision,
            batch_size=batch_size,
        )
        for shards in (1, 5)
    )
    np.testing.assert_array_equal(one, five)
    assert one.astype(np.float32).std() > 0.01
    np.testing.assert_allclose(one.astype(np.float32).sum(axis=0), 1, atol=3e-3)


@pytest.mark.parametrize("classes", [("nodule",), ("nodule", "node")])
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_heatmaps_of_one_shard_equal_those_of_three_bit_for_bit(
    tmp_path: Path, precision: str, classes: tuple[str, ...]
) -> None:
    recipe = tiny_recipe(kind="detection", classes=classes)
    inputs = tiny_inputs(tmp_path, (24, 48, 64), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    one, three = (
        predict(tmp_path / str(n), inputs, model, shards=n, precision=precision) for n in (1, 3)
    )
    np.testing.assert_array_equal(one, three)
    assert one.shape == (len(classes), 24, 48, 64)
    assert one.min() >= 0
    assert one.max() <= 1
    assert one.astype(np.float32).std() > 0.01


def test_a_heatmap_is_the_sigmoid_of_what_the_network_says(tmp_path: Path) -> None:
    recipe = tiny_recipe(kind="detection", classes=("nodule",))
    inputs = tiny_inputs(tmp_path, (16, 32, 32), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    found = predict(tmp_path / "one", inputs, model, mode="whole_volume", precision="float32")
    spec, network = load_model(model)
    region = SampleInputs(inputs, spec).read(Box.whole((16, 32, 32)))
    predictor = Predictor(network, device=torch.device("cpu"), dtype=torch.float32)
    with torch.inference_mode():
        logits = predictor.engine.logits(*predictor.assemble(region, [region.box]))[0]
    np.testing.assert_allclose(found, logits.sigmoid().numpy(), atol=1e-5)


def test_flat_networks_have_shards_too_even_more_than_windows(tmp_path: Path) -> None:
    recipe = tiny_recipe(dimensions=2)
    inputs = tiny_inputs(tmp_path, (3, 40, 32), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    one = predict(tmp_path / "one", inputs, model)
    many = predict(tmp_path / "many", inputs, model, shards=8)
    np.testing.assert_array_equal(one, many)


def test_a_batch_of_three_is_a_batch_of_one_to_rounding(tmp_path: Path) -> None:
    recipe = tiny_recipe(context=False)
    inputs = tiny_inputs(tmp_path, (16, 48, 48), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    single, triple = (
        predict(tmp_path / str(n), inputs, model, batch_size=n, precision="float32") for n in (1, 3)
    )
    np.testing.assert_allclose(single, triple, atol=1e-5)


def test_the_same_shard_twice_is_the_same_bytes_and_says_what_made_it(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    inputs = tiny_inputs(tmp_path, (16, 40, 32), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    for name in ("one", "two"):
        settings = InferenceSettings(shards=2, precision="float32")
        infer_shard(inputs, model, tmp_path / name / "s.zarr", shard=1, settings=settings)

    def content(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    assert content(tmp_path / "one") == content(tmp_path / "two")
    facts = open_stored(tmp_path / "one" / "s.zarr").attributes
    assert facts["stage"] == "infer_shard"
    assert facts["model"]["name"] == "tiny"
    assert facts["model"]["sha256"] == file_sha256(model / "model.safetensors")
    assert facts["source"]["sha256"] == "5" * 64
    assert facts["precision"] == "float32"
    assert facts["inference"]["overlap"] == 0.5
    assert facts["features"]["backbone"]["arguments"]["scales"] == [1.0]
    assert facts["context"]["view_spacing"] == [16, 16, 16]
    assert str(tmp_path) not in str(facts)


def test_a_whole_volume_is_predicted_at_once_from_its_reflection(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    shape = (20, 40, 50)
    inputs = tiny_inputs(tmp_path, shape, recipe)
    model = tiny_model(tmp_path / "model", recipe)
    chosen = {"mode": "whole_volume", "precision": "float32"}
    found = predict(tmp_path / "one", inputs, model, **chosen)
    many = predict(tmp_path / "many", inputs, model, **chosen, shards=3, batch_size=4)
    np.testing.assert_array_equal(found, many)
    spec, network = load_model(model)
    opened = SampleInputs(inputs, spec)
    predictor = Predictor(network, device=torch.device("cpu"), dtype=torch.float32)
    window = Box((-6, -4, -7), (26, 44, 57))
    alone = predictor(opened.read(window), [window])[0][:, 6:26, 4:44, 7:57]
    np.testing.assert_allclose(found, alone, atol=2.0**-18)
    blending = open_stored(tmp_path / "one" / "prediction.ome.zarr").attributes["blending"]
    assert blending["minimum_weight"] == 1


def test_windows_a_stride_apart_are_those_of_the_same_overlap(tmp_path: Path) -> None:
    recipe = tiny_recipe(context=False)
    inputs = tiny_inputs(tmp_path, (16, 48, 48), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    by_overlap = predict(tmp_path / "a", inputs, model, overlap=0.25)
    by_stride = predict(tmp_path / "b", inputs, model, stride=(12, 24, 24))
    np.testing.assert_array_equal(by_overlap, by_stride)


def test_statistics_of_the_batch_are_announced_and_change_the_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny_recipe(context=False)
    inputs = tiny_inputs(tmp_path, (16, 48, 80), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    chosen = {"do_eval": False, "precision": "float32"}
    usual = predict(tmp_path / "usual", inputs, model, precision="float32")
    assert "do_eval" not in caplog.text
    alone = predict(tmp_path / "alone", inputs, model, **chosen)
    assert "do_eval is false" in caplog.text
    cut = predict(tmp_path / "cut", inputs, model, **chosen, shards=3)
    np.testing.assert_array_equal(alone, cut)
    paired = predict(tmp_path / "paired", inputs, model, **chosen, batch_size=2)
    assert np.abs(alone - usual).max() > 1e-2
    assert np.abs(alone - paired).max() > 1e-3


def test_a_window_without_statistics_of_its_own_is_refused(tmp_path: Path) -> None:
    recipe = tiny_recipe(context=False)
    inputs = tiny_inputs(tmp_path, (16, 32, 32), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    with pytest.raises(GridError, match="do_eval: false, use a larger"):
        predict(tmp_path, inputs, model, do_eval=False, window=(16, 16, 16))
