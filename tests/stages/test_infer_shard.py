"""Shards of a sample: bits that do not depend on how many there are, and what made them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sample import infer, smooth_volume, store_scan, tiny_inputs, tiny_model, tiny_recipe

from parafovea.errors import GridError, StoreError
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.windows import Layout
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.inference.window_plan import windows_with_body
from parafovea.models.folder import load_model
from parafovea.preprocess.body_masks import stored_volume_body
from parafovea.runtime.file_hash import file_sha256
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.extract_features import extract_features
from parafovea.storage.store import open_stored


def predict(
    folder: Path,
    inputs: ModelInputs,
    model: Path,
    views: Sequence[ModelInputs] = (),
    **settings: Any,
) -> np.ndarray[Any, Any]:
    """Return the blended prediction of all shards, (class, z, y, x)."""
    chosen = InferenceSettings(**{"shards": 1, "window": None, **settings})
    assert chosen.shards != "auto"
    paths = [folder / f"{number}.zarr" for number in range(1, chosen.shards + 1)]
    for number, path in enumerate(paths, start=1):
        infer(inputs, model, path, shard=number, settings=chosen, views=views)
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
    assert one.astype(np.float32).std() > 0.005


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


SCAN = (16, 48, 64)
BODY = Box((0, 16, 32), (16, 40, 56))


def scan_inputs(folder: Path, recipe: Recipe, *, view: str = "") -> ModelInputs:
    """Write a CT of 4 mm voxels, normalized: air, and in a part of it a body."""
    grid = Grid(SCAN, recipe.spacing, unit=recipe.unit)
    hu = np.full(grid.shape, -1000.0)
    hu[BODY.slices] = 40 + 100 * smooth_volume(BODY.shape).astype(float)
    volume, features = folder / "volume.ome.zarr", folder / f"features{view}.zarr"
    if not view:
        store_scan(volume, (hu + 1000) / 1400, grid, zero=-1000, one=400)
    extract_features(
        volume,
        features,
        spacing=recipe.spacing,
        backbone=recipe.backbone,
        dimensions=3,
        augmentation=view,
    )
    return ModelInputs(volume, features, augmentation=view)


def scan_recipe(**changes: Any) -> Recipe:
    return tiny_recipe(
        context=False, unit="millimeter", spacing=(4, 4, 4), window=(16, 16, 16), **changes
    )


@pytest.mark.parametrize("tta", [(), ("flip_x",)])
def test_windows_without_body_are_left_out_and_count_as_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tta: tuple[str, ...]
) -> None:
    recipe = scan_recipe(kind="detection", classes=("nodule",))
    inputs = scan_inputs(tmp_path, recipe)
    views = [scan_inputs(tmp_path, recipe, view=name) for name in tta]
    model = tiny_model(tmp_path / "model", recipe)
    chosen: dict[str, Any] = {"precision": "float32", "tta": tta, "views": views}
    with caplog.at_level("INFO"):
        one = predict(tmp_path / "one", inputs, model, **chosen)
    three = predict(tmp_path / "three", inputs, model, **chosen, shards=3)
    full = predict(tmp_path / "full", inputs, model, **chosen, skip_empty=False)
    np.testing.assert_array_equal(one, three)

    shape = SCAN
    layout = Layout.regular(shape, recipe.window, overlap=0.5)
    body = stored_volume_body(inputs.volume)
    wanted = windows_with_body(layout, open_stored(inputs.volume).grid, body)
    left, computed = np.zeros(shape, bool), np.zeros(shape, bool)
    for box, with_body in zip(layout.windows(), wanted.flat, strict=True):
        (computed if with_body else left)[box.slices] = True
    assert computed[BODY.slices].all()
    np.testing.assert_array_equal(one[0][~left], full[0][~left])
    assert not one[0][~computed].any()
    assert full[0][~computed].min() > 0.1
    both = left & computed
    assert (one[0][both] < full[0][both]).all()

    skipped = int((~wanted).sum())
    assert skipped > wanted.size / 4
    for name in ("one", "three"):
        blending = open_stored(tmp_path / name / "prediction.ome.zarr").attributes["blending"]
        assert blending["skipped_windows"] == skipped
        assert blending["windows"] == wanted.size
        assert blending["uncovered_voxels"] == 0
    assert f"{skipped} of {wanted.size} windows without body" in caplog.text
    stored = open_stored(tmp_path / "full" / "prediction.ome.zarr").attributes["blending"]
    assert "skipped_windows" not in stored


def test_a_segmentation_computes_every_window_and_says_nothing_of_bodies(tmp_path: Path) -> None:
    recipe = scan_recipe()
    inputs = scan_inputs(tmp_path, recipe)
    model = tiny_model(tmp_path / "model", recipe)
    found = predict(tmp_path / "one", inputs, model, precision="float32")
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-4)
    attributes = open_stored(tmp_path / "one" / "1.zarr").attributes
    assert "skipped_windows" not in attributes
    assert "skip_empty" not in attributes["inference"]


def test_a_volume_without_its_body_is_refused_with_the_fix(tmp_path: Path) -> None:
    recipe = scan_recipe(kind="detection", classes=("nodule",))
    inputs = scan_inputs(tmp_path, recipe)
    shutil.rmtree(inputs.volume / "labels")
    model = tiny_model(tmp_path / "model", recipe)
    message = r"volume\.ome\.zarr has no label image 'volume_body'.*: delete .* and run again"
    with pytest.raises(StoreError, match=message):
        predict(tmp_path / "one", inputs, model)
    assert not (tmp_path / "one" / "1.zarr").exists()
    # who asks for every window needs no body
    assert predict(tmp_path / "all", inputs, model, skip_empty=False).max() > 0


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
        settings = InferenceSettings(overlap=0.5, shards=2, precision="float32")
        infer(inputs, model, tmp_path / name / "s.zarr", shard=1, settings=settings)

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
