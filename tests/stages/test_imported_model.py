"""An imported checkpoint through the stages of the workflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_checkpoint import WINDOW, upstream_content, upstream_weights, write_checkpoint
from tiny_sample import infer, smooth_volume, store_volume
from tiny_vit import saved_vit

from parafovea import load_inference_model
from parafovea.errors import ModelError
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.models.model_json import read_spec
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.extract_features import extract_features
from parafovea.storage.store import open_stored
from parafovea.upstream.importing import import_model


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_vit(tmp_path_factory.mktemp("vit") / "two", layers=2)


def imported(folder: Path, vit: Path, *, upsampling: int | None = None) -> Path:
    weights = upstream_weights(context=32, upsampling=upsampling)
    # Tokens of 16 pixels and as many planes as voxels: a stored token is a voxel.
    content = upstream_content(weights, dinov3_slice_size=256)
    path = write_checkpoint(folder / "best.pkl", content)
    import_model(path, folder / "model", weights=str(vit))
    return folder / "model"


def test_the_workflow_predicts_a_window_as_the_inference_object(tmp_path: Path, vit: Path) -> None:
    model = imported(tmp_path, vit)
    spec = read_spec(model)
    assert spec.backbone.arguments["stride"] == 1
    assert spec.context is not None
    volume = store_volume(tmp_path / "volume.ome.zarr", smooth_volume(WINDOW))
    inputs = ModelInputs(volume, tmp_path / "features.zarr", tmp_path / "context.zarr")
    assert inputs.context is not None
    for output, spacing, window in (
        (inputs.features, spec.spacing, None),
        (inputs.context, spec.context.spacing, spec.window),
    ):
        extract_features(
            volume,
            output,
            spacing=spacing,
            backbone=spec.backbone,
            dimensions=3,
            concentric_window=window,
        )
    settings = InferenceSettings(precision="float32")
    infer(inputs, model, tmp_path / "1.zarr", shard=1, settings=settings)
    blend_shards([tmp_path / "1.zarr"], tmp_path / "prediction.ome.zarr")
    prediction = open_stored(tmp_path / "prediction.ome.zarr")
    # A window looks four times as far as it reaches, so only a 64th of its context is real.
    assert prediction.attributes["blending"]["padded_context"] == pytest.approx(63 / 64)
    inference = load_inference_model(model, device="cpu")
    voxels = open_stored(volume).read().astype(np.float32)
    plain = inference.predict(voxels, return_probabilities=True)[1]
    found = prediction.read()
    assert found.shape == plain.shape
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-4)
    assert np.abs(found - plain).max() > 1e-3  # since the workflow has context


def test_without_context_both_agree(tmp_path: Path, vit: Path) -> None:
    content = upstream_content(upstream_weights(), dinov3_slice_size=256)
    path = write_checkpoint(tmp_path / "best.pkl", content)
    import_model(path, tmp_path / "model", weights=str(vit))
    spec = read_spec(tmp_path / "model")
    volume = store_volume(tmp_path / "volume.ome.zarr", smooth_volume(WINDOW))
    features = tmp_path / "features.zarr"
    extract_features(volume, features, spacing=spec.spacing, backbone=spec.backbone, dimensions=3)
    settings = InferenceSettings(precision="float32")
    inputs = ModelInputs(volume, features)
    infer(inputs, tmp_path / "model", tmp_path / "1.zarr", shard=1, settings=settings)
    blend_shards([tmp_path / "1.zarr"], tmp_path / "prediction.ome.zarr")
    found = open_stored(tmp_path / "prediction.ome.zarr").read()
    inference = load_inference_model(tmp_path / "model", device="cpu")
    voxels = open_stored(volume).read().astype(np.float32)
    wanted = inference.predict(voxels, return_probabilities=True)[1]
    np.testing.assert_allclose(found, wanted, atol=5e-3)  # features are stored in half precision


def test_learned_upsampling_is_refused_with_what_runs_it(tmp_path: Path, vit: Path) -> None:
    model = imported(tmp_path, vit, upsampling=4)
    inputs = ModelInputs(tmp_path / "volume.ome.zarr", tmp_path / "features.zarr")
    with pytest.raises(ModelError, match=r"learned upsampling by 4, .*load_inference_model\("):
        infer(inputs, model, tmp_path / "1.zarr", shard=1, settings=InferenceSettings())
    assert load_inference_model(model, device="cpu").model_config["upsampling_factor"] == 4
