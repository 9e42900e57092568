"""Images with several bands through the stages of a volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sample import BANDS, infer, tiny_inputs, tiny_model, tiny_refinement

from parafovea.errors import ModelError
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.models.folder import save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ModelSpec, Recipe
from parafovea.stages.blend_shards import blend_shards
from parafovea.storage.store import open_stored

SHAPE = (3, 40, 56)
SETTINGS = InferenceSettings(precision="float32", batch_size=2, shards=2)


def predicted(inputs: ModelInputs, model: Path, folder: Path) -> np.ndarray:
    shards = [folder / f"{number}.zarr" for number in (1, 2)]
    for number, shard in enumerate(shards, start=1):
        infer(inputs, model, shard, shard=number, settings=SETTINGS)
    blend_shards(shards, folder / "prediction.zarr")
    stored = open_stored(folder / "prediction.zarr")
    assert stored.channels == BANDS
    return stored.read()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ModelInputs:
    return tiny_inputs(tmp_path_factory.mktemp("images"), SHAPE, tiny_refinement())


def test_a_residual_of_nothing_gives_the_bands_back(inputs: ModelInputs, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", tiny_refinement())
    spec = ModelSpec.model_validate_json((model / "model.json").read_text())
    network = FusedUNet.from_spec(spec)
    torch.nn.init.zeros_(network.final_conv.weight)
    torch.nn.init.zeros_(network.final_conv.bias)
    save_model(tmp_path / "nothing", spec, network)
    found = predicted(inputs, tmp_path / "nothing", tmp_path)
    np.testing.assert_allclose(found, open_stored(inputs.volume).read(), atol=2.0**-14)


def test_a_residual_is_added_to_the_bands_of_its_names(inputs: ModelInputs, tmp_path: Path) -> None:
    recipe = tiny_refinement(classes=("B08", "B03"))
    spec = ModelSpec.model_validate_json(
        (tiny_model(tmp_path / "model", recipe) / "model.json").read_text()
    )
    network = FusedUNet.from_spec(spec)
    torch.nn.init.zeros_(network.final_conv.weight)
    with torch.no_grad():
        network.final_conv.bias.copy_(torch.tensor([0.25, 0.0]))
    save_model(tmp_path / "shifted", spec, network)
    infer(
        inputs,
        tmp_path / "shifted",
        tmp_path / "1.zarr",
        shard=1,
        settings=SETTINGS.model_copy(update={"shards": 1}),
    )
    blend_shards([tmp_path / "1.zarr"], tmp_path / "prediction.zarr")
    infrared, green = open_stored(tmp_path / "prediction.zarr").read()
    bands = open_stored(inputs.volume).read().astype(np.float32)
    np.testing.assert_allclose(infrared, np.clip(bands[3] + 0.25, 0, 1), atol=2.0**-14)
    np.testing.assert_allclose(green, bands[1], atol=2.0**-14)


def test_each_plane_is_told_its_own_month_and_biome(tmp_path: Path) -> None:
    recipe = tiny_refinement()
    opened = SampleInputs(tiny_inputs(tmp_path, SHAPE, recipe), recipe)
    region = opened.read(opened.grid.box)
    assert region.raw is not None
    assert region.raw.shape == (4, *SHAPE)
    planes = opened.grid.box.tiles((1, 40, 56))
    assert len({region.condition(box).tobytes() for box in planes}) == 3


def test_a_model_of_other_bands_is_refused(inputs: ModelInputs) -> None:
    other = tiny_refinement(bands=("B02", "B03", "B08", "B04"))
    with pytest.raises(ModelError, match="expects B02, B03, B08, B04"):
        SampleInputs(inputs, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("B02", "B11")}, "B11 is not among its bands .B02, B03, B04, B08"),
        ({"normalization": {"method": "percentile"}}, "set it to none"),
        ({"raw_input": False}, "set raw_input: true"),
        ({"bands": ()}, "is not among its bands .none"),
    ],
)
def test_impossible_refinements_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_refinement(**changes)


def test_without_a_residual_other_bands_can_come_out() -> None:
    recipe = tiny_refinement(bands=("VV", "VH"), residual=False)
    assert isinstance(recipe, Recipe)
    assert (recipe.activation, recipe.base, recipe.channels) == ("sigmoid", (), 2)
