"""Inference on arrays: upstream checkpoints as they are, and folders as the workflow runs them."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoint import WINDOW, upstream_content, upstream_weights, write_checkpoint
from tiny_sample import BACKBONE, infer, smooth_volume, tiny_inputs, tiny_model, tiny_recipe
from upstream_features import stated
from upstream_forward import upstream_forward

from parafovea import load_inference_model
from parafovea.backbones.views import View
from parafovea.errors import GridError, ModelError, VoxelError
from parafovea.geometry.grid import Box
from parafovea.inference.array_inputs import concentric_view
from parafovea.inference.volume import VolumeInference
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.stages.blend_shards import blend_shards
from parafovea.storage.store import open_stored
from parafovea.upstream.importing import import_model

WARNING = (
    "⚠️ WARNING: Model was trained with context fusion but no context_volume provided.\n"
    "           Inference may produce suboptimal results.\n"
)


def image(shape: tuple[int, int, int] = WINDOW, seed: int = 0) -> np.ndarray[Any, Any]:
    return (255 * smooth_volume(shape, seed).astype(np.float32)).astype(np.uint8)


def checkpoint(folder: Path, *, upsampling: int | None = None, context: bool = True) -> Path:
    weights = upstream_weights(context=32 if context else None, upsampling=upsampling)
    return write_checkpoint(folder / "best.pkl", upstream_content(weights))


@pytest.fixture
def with_context(tmp_path: Path, vit: Path) -> VolumeInference:
    return load_inference_model(checkpoint(tmp_path), weights=str(vit), device="cpu")


def test_a_detection_predicts_heatmaps_instead_of_labels(tmp_path: Path) -> None:
    recipe = tiny_recipe(kind="detection", classes=("nodule",), context=False)
    inference = load_inference_model(tiny_model(tmp_path, recipe), device="cpu")
    volume = image((16, 32, 32))
    heat, probabilities = inference.predict(volume, return_probabilities=True)
    np.testing.assert_array_equal(heat, probabilities)
    assert heat.shape == (1, 16, 32, 32)
    assert 0 < heat.min() < heat.max() < 1


@pytest.mark.parametrize("how", ["file", "run", "folder"])
@pytest.mark.parametrize("upsampling", [None, 2])
@pytest.mark.parametrize("context", [False, True], ids=["plain", "context"])
def test_a_window_is_predicted_as_upstream_does(
    tmp_path: Path, vit: Path, context: bool, upsampling: int | None, how: str
) -> None:
    run = tmp_path / "run_20251003_110551"
    path = checkpoint(run, upsampling=upsampling, context=context)
    where = {"file": path, "run": run, "folder": tmp_path / "model"}[how]
    if how == "folder":
        import_model(path, where, weights=str(vit))
    inference = load_inference_model(where, weights=str(vit), device="cpu")
    volume, wide = image(), image(seed=1)
    labels, found = inference.predict(volume, context_volume=wide, return_probabilities=True)
    weights = upstream_weights(context=32 if context else None, upsampling=upsampling)
    with torch.inference_mode():
        # Upstream's features come at the window's size, whatever learned upsampling does then.
        logits = upstream_forward(
            weights,
            stated(vit, volume, "xy+xz+yz", 32)[None],
            stated(vit, wide, "xy+xz+yz", 32)[None] if context else None,
            size=WINDOW,
            upsampling=upsampling,
        )[0]
    np.testing.assert_allclose(found, logits.softmax(dim=0).numpy(), rtol=0, atol=1e-5)
    assert labels.shape == WINDOW
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, found.argmax(axis=0))
    assert not inference.degraded


def test_a_given_context_changes_the_prediction(with_context: VolumeInference) -> None:
    volume = image()
    first, second = (
        with_context.predict(volume, image(seed=seed), return_probabilities=True)[1]
        for seed in (1, 2)
    )
    without = with_context.predict(volume, return_probabilities=True)[1]
    assert np.abs(first - second).max() > 1e-3
    assert np.abs(first - without).max() > 1e-3


def test_a_context_model_without_context_warns_and_is_marked_degraded(
    with_context: VolumeInference, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="parafovea")
    labels = with_context.predict(image())
    assert isinstance(labels, np.ndarray)
    assert with_context.degraded
    said = "\n".join(caplog.messages)
    assert said.startswith(WARNING)
    assert caplog.records[0].levelno == logging.WARNING
    caplog.clear()
    assert "Feature extraction timing (without context): {'local_features_s':" in said
    with_context.predict(image(), context_volume=image())
    assert not with_context.degraded
    said = "\n".join(caplog.messages)
    assert "WARNING" not in said
    assert "Feature extraction timing (with context): {" in said
    assert "context_features_s" in said


def test_a_model_without_context_ignores_one(
    tmp_path: Path, vit: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="parafovea")
    path = checkpoint(tmp_path, context=False)
    inference = load_inference_model(str(path), weights=str(vit), device="cpu")
    assert "Use context fusion: False" in caplog.messages
    plain = inference.predict(image(), return_probabilities=True)[1]
    ignored = inference.predict(image(), np.zeros((3, 4, 5)), True)[1]
    np.testing.assert_array_equal(plain, ignored)
    assert not inference.degraded
    assert any("Feature extraction timing: {" in text for text in caplog.messages)


def test_what_was_found_is_kept(with_context: VolumeInference) -> None:
    config = with_context.model_config
    assert config["use_context_fusion"] is True
    assert config["context_channels"] == 32
    assert config["learn_upsampling"] is False
    assert config["use_orthogonal_planes"] is True
    assert config["num_classes"] == 3
    assert config["base_channels"] == 4
    assert config["input_size"] == WINDOW
    assert config["dinov3_slice_size"] == 32
    assert config["dinov3_stride"] is None
    assert with_context.training_config["context_scale"] == 32


def test_the_facts_of_a_model_are_logged_and_nothing_is_printed(
    tmp_path: Path,
    vit: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, logger="parafovea")
    load_inference_model(checkpoint(tmp_path), weights=str(vit), device="cpu")
    said = "\n".join(caplog.messages)
    assert said.startswith("Use context fusion: True\nContext channels: 32\n")
    assert capsys.readouterr() == ("", "")
    assert "Note: class names are not in the file" in said


@pytest.mark.parametrize("shape", [(16, 16, 80), (24, 20, 40), (9, 16, 20)])
def test_volumes_of_other_sizes_are_blended_from_windows(
    with_context: VolumeInference, shape: tuple[int, int, int]
) -> None:
    labels, found = with_context.predict(image(shape), image(shape, 1), return_probabilities=True)
    assert labels.shape == shape
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-4)
    assert found.std() > 0.01
    if shape[2] == 80:  # the first quarter belongs to the first window alone
        view = concentric_view(image(shape, 1), shape, Box.whole(WINDOW), (4.0, 4.0, 4.0))
        alone = with_context.predict(image(shape)[..., :32], view, return_probabilities=True)[1]
        np.testing.assert_allclose(found[..., :16], alone[..., :16], atol=2e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("ratio", [2.0, 4.0, 2.5])
def test_a_windows_context_is_around_its_own_centre(axis: int, ratio: float) -> None:
    """The context is its own world coordinate, so that a shift of one voxel fails."""
    volume, window = (40, 48, 64), (16, 16, 32)
    middle = (volume[axis] - 1) / 2
    context = middle + (np.indices(volume)[axis] - middle) * ratio
    for start in ((0, 0, 0), (24, 32, 32), (12, 16, 16), (5, 7, 9)):
        box = Box.sized(start, window)
        found = concentric_view(context, volume, box, (ratio,) * 3)
        assert found.shape == window
        centre = start[axis] + (window[axis] - 1) / 2
        own = centre + (np.arange(window[axis]) - (window[axis] - 1) / 2) * ratio
        wanted = np.moveaxis(np.broadcast_to(own, (1, 1, window[axis])), 2, axis)
        np.testing.assert_allclose(found, np.broadcast_to(wanted, window), atol=1e-3)


def test_affinities_are_probabilities_of_their_own(tmp_path: Path, vit: Path) -> None:
    weights = upstream_weights()
    content = upstream_content(weights, output_type="affinities")
    path = write_checkpoint(tmp_path / "best.pkl", content)
    inference = load_inference_model(path, weights=str(vit), device="cpu")
    found = inference.predict(image())
    with torch.inference_mode():
        features = stated(vit, image(), "xy+xz+yz", 32)[None]
        wanted = upstream_forward(weights, features, size=WINDOW)[0].sigmoid()
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-5)


def test_a_source_finer_than_the_result_gives_a_result_of_fewer_voxels(
    tmp_path: Path, vit: Path
) -> None:
    content = upstream_content(
        upstream_weights(), min_resolution_for_raw=4, base_resolution=8, use_orthogonal_planes=False
    )
    path = write_checkpoint(tmp_path / "best.pkl", content)
    inference = load_inference_model(path, weights=str(vit), device="cpu")
    assert inference.predict(image((32, 32, 64)), spacing=(4, 4, 4)).shape == (16, 16, 32)
    with pytest.raises(GridError, match=r"\(33, 32, 64\) voxels, but .* takes 2 along each axis"):
        inference.predict(image((33, 32, 64)))


@pytest.mark.parametrize(
    ("volume", "context", "kind", "message"),
    [
        (np.zeros((4, 4)), None, GridError, r"volume has the shape \(4, 4\): give a single volume"),
        (np.zeros((0, 4, 4)), None, GridError, r"volume has the shape \(0, 4, 4\)"),
        (np.zeros(WINDOW, bool), None, VoxelError, "volume has the dtype bool: give integers"),
        (np.full(WINDOW, np.nan), None, VoxelError, "8192 of 8192 voxels of volume are NaN"),
        (image(), np.zeros((2, *WINDOW)), GridError, r"context_volume has the shape \(2, 16, "),
        (image(), np.zeros(WINDOW, complex), VoxelError, "context_volume has the dtype complex"),
        (image(), np.array(["a"]).reshape(1, 1, 1), VoxelError, "context_volume has the dtype <U1"),
    ],
)
def test_arrays_that_cannot_be_are_refused(
    with_context: VolumeInference,
    volume: Any,
    context: Any,
    kind: type[Exception],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        with_context.predict(volume, context)


def test_a_context_of_another_size_is_refused_with_both_and_the_call(
    with_context: VolumeInference,
) -> None:
    with pytest.raises(GridError) as caught:
        with_context.predict(image(), image((4, 4, 8)))
    said = str(caught.value)
    for words in (
        "context_volume has (4, 4, 8) voxels, which at (32.0, 32.0, 32.0) nanometer cover "
        "(128.0, 128.0, 256.0) nanometer",
        "takes (16, 16, 32) voxels of that size, (512.0, 512.0, 1024.0) nanometer around the "
        "centre of the volume",
        "voxel_size=(32.0, 32.0, 32.0) and size=(512.0, 512.0, 1024.0), then "
        "predict(volume, context_volume=context_volume)",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("spacings", "message"),
    [
        ({"spacing": (4, 4, 4)}, r"spacing \(4, 4, 4\) nanometer .*, \(8.0, 8.0, 8.0\) .*: load"),
        ({"context_spacing": (16,) * 3}, r"context_spacing \(16, 16, 16\) .* \(32.0, .*: load"),
    ],
)
def test_spacings_of_another_ratio_are_refused(
    with_context: VolumeInference, spacings: dict[str, Any], message: str
) -> None:
    with pytest.raises(GridError, match=message):
        with_context.predict(image(), image(), **spacings)
    right = {"spacing": (8, 8, 8), "context_spacing": (32, 32, 32)}
    assert with_context.predict(image(), image(), **right).shape == WINDOW


def test_a_transformer_of_another_width_is_refused_with_both_widths(
    tmp_path: Path, vit: Path
) -> None:
    weights = upstream_weights(context=384)
    path = write_checkpoint(tmp_path / "best.pkl", upstream_content(weights))
    message = r"best\.pkl: the context has 32 channels with the .*, but the network takes 384: use"
    with pytest.raises(ModelError, match=message):
        load_inference_model(path, weights=str(vit), device="cpu")


def test_a_transformer_that_is_not_there_is_refused_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"folder .* does not exist.*hf download NAME"):
        load_inference_model(checkpoint(tmp_path), weights=str(tmp_path / "none"), device="cpu")


def concentric(recipe: Recipe) -> Recipe:
    wide = {"spacing": (16, 16, 16), "alignment": "concentric", "backbone": BACKBONE}
    return Recipe.model_validate({**recipe.model_dump(), "context": wide})


def test_a_models_own_folder_predicts_an_array_as_the_workflow_a_sample(tmp_path: Path) -> None:
    recipe = tiny_recipe(normalization={"method": "none"})
    inputs = tiny_inputs(tmp_path, (24, 48, 40), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    infer(
        inputs, model, tmp_path / "1.zarr", shard=1, settings=InferenceSettings(precision="float32")
    )
    blend_shards([tmp_path / "1.zarr"], tmp_path / "prediction.ome.zarr")
    wanted = open_stored(tmp_path / "prediction.ome.zarr").read()
    stored = open_stored(inputs.volume)
    view = View(stored, stored.grid.resampled((16, 16, 16)))
    wide = view.read(view.grid.box)
    inference = load_inference_model(model, device="cpu")
    found = inference.predict(stored.read(), wide, return_probabilities=True)[1]
    # The workflow filters the view in float32, the array comes in half precision.
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert np.abs(inference.predict(stored.read(), return_probabilities=True)[1] - wanted).max() > (
        2e-3
    )
    assert inference.degraded
    with pytest.raises(GridError, match=r"takes \(12, 24, 20\) voxels .* at the place of the vol"):
        inference.predict(stored.read(), stored.read())


def test_a_models_own_concentric_context_is_an_array_of_as_many_voxels(tmp_path: Path) -> None:
    recipe = concentric(tiny_recipe())
    inference = load_inference_model(tiny_model(tmp_path / "model", recipe), device="cpu")
    volume, wide = image((24, 40, 40)), image((24, 40, 40), 1)
    first = inference.predict(volume, wide, return_probabilities=True)[1]
    second = inference.predict(volume, np.roll(wide, 8, axis=1), return_probabilities=True)[1]
    assert np.abs(first - second).max() > 1e-4
    with pytest.raises(GridError, match=r"takes \(24, 40, 40\) voxels .* around the centre of"):
        inference.predict(volume, wide[:12])


def test_importing_the_package_does_not_load_torch() -> None:
    code = (
        "import sys, parafovea; assert 'torch' not in sys.modules; parafovea.load_inference_model"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from parafovea import nothing  # noqa: F401
