"""Models on features of another project's network: trained, and predicted by tiles and volumes."""

import numpy as np
import pytest
import torch
from tiny_networks import saved_encoder
from tiny_sample import infer, tiny_inputs, tiny_model, tiny_recipe, tiny_refinement
from tiny_training import train, training_sample

from parafovea.inference.execution import Execution
from parafovea.inference.tile_batches import TileModel
from parafovea.inference.window_predictors import Computation
from parafovea.models.folder import load_model
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe, TrainingRecipe
from parafovea.settings.training import TrainingSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.storage.store import open_stored
from parafovea.upstream.networks.backbone_import import BackboneOptions, import_backbone

SHAPE = (3, 40, 56)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return backbone folders: of four bands, without reach, and of one channel."""
    place = tmp_path_factory.mktemp("networks")
    for name, channels in (("bands", 4), ("grey", 1)):
        saved_encoder(place / f"{name}.onnx", channels=channels, squeeze=name == "bands")
        bands = ("B02", "B03", "B04", "B08") if name == "bands" else ()
        options = BackboneOptions(window=(32, 32), bands=bands)
        import_backbone(place / f"{name}.onnx", place / name, "features", options)
    return place


def network(folder):
    return {"name": "network", "arguments": {"weights": str(folder)}}


def test_tiles_and_the_stages_of_a_volume_agree(folders, tmp_path):
    backbone = network(folders / "bands")
    views = {"backbone": backbone, "context": {"spacing": (1, 20, 20), "backbone": backbone}}
    recipe = Recipe.model_validate({**tiny_refinement().model_dump(), **views})
    inputs = tiny_inputs(tmp_path / "images", SHAPE, recipe)
    assert open_stored(inputs.features).array.shape == (5, 3, 20, 28)
    assert open_stored(inputs.context).array.shape == (5, 3, 10, 14)
    model = tiny_model(tmp_path / "model", recipe, input_channels=5 + 4, context_channels=5)
    settings = InferenceSettings(precision="float32", window=(1, 48, 64))
    infer(inputs, model, tmp_path / "1.zarr", shard=1, settings=settings)
    blend_shards([tmp_path / "1.zarr"], tmp_path / "prediction.zarr")
    wanted = np.moveaxis(open_stored(tmp_path / "prediction.zarr").read(), 1, 0)
    stored = open_stored(inputs.volume)
    images = np.moveaxis(stored.read(), 1, 0).astype(np.float32)
    spec, fused = load_model(model)
    ready = TileModel(
        spec,
        fused,
        settings=InferenceSettings(precision="float32"),
        execution=Execution(torch.device("cpu"), 2),
        computation=Computation("torch", torch.float32),
    )
    found = ready(images, conditions=stored.attributes["conditions"])
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert np.abs(found - images).max() > 0.01


def test_a_model_is_trained_on_local_and_context_features(folders, tmp_path):
    backbone = network(folders / "grey")
    views = {"backbone": backbone, "context": {"spacing": (16, 16, 16), "backbone": backbone}}
    recipe = TrainingRecipe.model_validate({**tiny_recipe().model_dump(), **views})
    shape = (16, 32, 32)
    samples = [training_sample(tmp_path / name, recipe, shape) for name in ("a", "b")]
    settings = TrainingSettings.model_validate(
        {
            "recipe": recipe.model_dump(),
            "samples": ["a"],
            "validation": ["b"],
            "steps": 2,
            "validate_every": 2,
            "batch_size": 1,
        }
    )
    model = train(tmp_path, samples[:1], samples[1:], settings)
    spec, _ = load_model(model)
    assert (spec.input_channels, spec.context_channels) == (5 + 1, 5)
    assert spec.backbone.name == "network"
    infer(
        samples[1].inputs,
        model,
        tmp_path / "1.zarr",
        shard=1,
        settings=InferenceSettings(precision="float32"),
    )
    blend_shards([tmp_path / "1.zarr"], tmp_path / "prediction.zarr")
    assert open_stored(tmp_path / "prediction.zarr").read().shape == (3, *shape)
