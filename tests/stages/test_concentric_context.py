"""Concentric context through the stages: from its features to the share of padding in a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sample import BACKBONE, infer, tiny_inputs, tiny_model, tiny_recipe

from parafovea.errors import GridError, ModelError
from parafovea.geometry.grid import Box
from parafovea.geometry.windows import Layout
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.models.context_alignment import padded_share
from parafovea.models.folder import load_model
from parafovea.models.token_sampling import interpolate
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.stages.blend_shards import blend_shards
from parafovea.storage.store import open_stored

SHAPE = (24, 48, 64)
WINDOW = (16, 32, 32)


def concentric_recipe() -> Recipe:
    wide = {"spacing": (16, 24, 16), "alignment": "concentric", "backbone": BACKBONE}
    return Recipe.model_validate({**tiny_recipe().model_dump(), "context": wide})


def run(folder: Path, inputs: ModelInputs, model: Path, shards: int) -> Path:
    chosen = InferenceSettings(shards=shards, precision="float32")
    paths = [folder / f"{number}.zarr" for number in range(1, shards + 1)]
    for number, path in enumerate(paths, start=1):
        infer(inputs, model, path, shard=number, settings=chosen)
    blend_shards(paths, folder / "prediction.ome.zarr")
    return folder / "prediction.ome.zarr"


def test_shards_agree_to_the_bit_and_the_padded_share_is_recorded(tmp_path: Path) -> None:
    recipe = concentric_recipe()
    inputs = tiny_inputs(tmp_path, SHAPE, recipe)
    model = tiny_model(tmp_path / "model", recipe)
    one, three = (run(tmp_path / str(n), inputs, model, n) for n in (1, 3))
    np.testing.assert_array_equal(open_stored(one).read(), open_stored(three).read())
    blending = open_stored(one).attributes["blending"]
    layout = Layout.regular(SHAPE, WINDOW, overlap=0.5)
    assert blending["padded_context"] == pytest.approx(padded_share(layout, (2.0, 3.0, 2.0)))
    assert 0.3 < blending["padded_context"] < 0.9


def test_a_window_is_predicted_from_the_context_around_its_own_centre(tmp_path: Path) -> None:
    recipe = concentric_recipe()
    inputs = tiny_inputs(tmp_path, WINDOW, recipe)
    model = tiny_model(tmp_path / "model", recipe)
    found = open_stored(run(tmp_path / "run", inputs, model, 1)).read()
    spec, network = load_model(model)
    opened = SampleInputs(inputs, spec)
    box = Box.whole(WINDOW)
    region = opened.read(box)
    assert region.context is not None
    assert region.raw is not None

    def full(block, window: Box) -> torch.Tensor:  # type: ignore[no-untyped-def]
        tokens, weights = block.window(window)
        return interpolate(torch.from_numpy(tokens).float(), weights)

    raw = torch.from_numpy(region.raw).float()[None]
    local = torch.cat([raw, full(region.features, box)])[None]
    with torch.inference_mode():
        wide = full(region.context, box)[None]
        wanted = network(local, wide)[0].softmax(dim=0).numpy()
        moved = network(local, wide.roll(1, dims=-1))[0].softmax(dim=0).numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert np.abs(found - moved).max() > 1e-4


def test_context_of_another_alignment_is_refused_with_the_fix(tmp_path: Path) -> None:
    recipe = concentric_recipe()
    registered = recipe.model_copy(
        update={"context": recipe.context.model_copy(update={"alignment": "registered"})}  # type: ignore[union-attr]
    )
    inputs = tiny_inputs(tmp_path, SHAPE, registered)
    model = tiny_model(tmp_path / "model", recipe)
    with pytest.raises(
        ModelError, match=r"registered context, but .* windows \[16, 32, 32\]: run extract_context"
    ):
        infer(inputs, model, tmp_path / "o.zarr", shard=1, settings=InferenceSettings())


def test_a_window_larger_than_the_context_was_made_for_is_refused(tmp_path: Path) -> None:
    recipe = concentric_recipe()
    inputs = tiny_inputs(tmp_path, SHAPE, recipe)
    model = tiny_model(tmp_path / "model", recipe)
    settings = InferenceSettings(window=(16, 32, 48))
    with pytest.raises(GridError, match=r"\(16, 32, 48\) is larger than the model's \(16, 32, 32"):
        infer(inputs, model, tmp_path / "o.zarr", shard=1, settings=settings)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ({"learned_upsampling": 4}, "learned upsampling by 4"),
        ({"output": "affinities"}, "the output affinities"),
    ],
)
def test_what_the_workflow_does_not_compute_is_refused_with_what_does(
    tmp_path: Path, network: dict[str, object], reason: str
) -> None:
    recipe = tiny_recipe(context=False)
    inputs = tiny_inputs(tmp_path, SHAPE, recipe)
    odd = recipe.model_copy(update={"network": recipe.network.model_copy(update=network)})
    model = tiny_model(tmp_path / "model", odd)
    with pytest.raises(ModelError, match=rf"{reason}.*parafovea\.load_inference_model\("):
        infer(inputs, model, tmp_path / "o.zarr", shard=1, settings=InferenceSettings())


def test_concentric_context_finer_than_the_local_view_is_refused() -> None:
    with pytest.raises(ValueError, match="concentric context must not be finer"):
        Recipe.model_validate(
            {
                **tiny_recipe().model_dump(),
                "context": {"spacing": (4, 8, 8), "alignment": "concentric"},
            }
        )
