"""Batches of images in memory, against the stages of a volume and against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_prithvi import weights_of
from tiny_sample import infer, tiny_inputs, tiny_model, tiny_refinement

from parafovea.errors import ModelError
from parafovea.inference.execution import Execution
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.inference.tile_batches import TileModel
from parafovea.inference.window_plan import tile_layout
from parafovea.inference.window_predictors import Computation
from parafovea.models.folder import load_model
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.storage.store import open_stored

SHAPE = (3, 40, 56)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ModelInputs:
    return tiny_inputs(tmp_path_factory.mktemp("images"), SHAPE, tiny_refinement())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), tiny_refinement())


def loaded(model: Path, *, batch: int = 2, **settings: object) -> TileModel:
    spec, network = load_model(model)
    chosen = InferenceSettings.model_validate({"precision": "float32", **settings})
    return TileModel(
        spec,
        network,
        settings=chosen,
        execution=Execution(CPU, batch),
        computation=Computation("torch", torch.float32),
    )


def images_of(inputs: ModelInputs) -> tuple[np.ndarray, dict[str, list[int]]]:
    stored = open_stored(inputs.volume)
    return np.moveaxis(stored.read(), 1, 0).astype(np.float32), stored.attributes["conditions"]


@pytest.mark.parametrize("window", [None, (1, 32, 32)])
def test_images_become_what_the_stages_of_a_volume_make_of_them(
    inputs: ModelInputs, model: Path, tmp_path: Path, window: tuple[int, int, int] | None
) -> None:
    # an image is one window where none is named: 48 x 64 pixels around 40 x 56
    settings = InferenceSettings(precision="float32", window=window or (1, 48, 64))
    infer(inputs, model, tmp_path / "1.zarr", shard=1, settings=settings)
    blend_shards([tmp_path / "1.zarr"], tmp_path / "prediction.zarr")
    wanted = np.moveaxis(open_stored(tmp_path / "prediction.zarr").read(), 1, 0)
    images, known = images_of(inputs)
    found = loaded(model, window=window)(images, conditions=known)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert np.abs(found - images).max() > 0.05


def test_a_model_on_prithvi_tokens_refines_images_told_month_and_biome(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tmp_path / "prithvi.pt"
    torch.save(weights_of("v2_tiny_tl"), weights)
    arguments = {"weights": str(weights), "variant": "v2_tiny_tl", "stride": 8}
    recipe = tiny_refinement(context=False, backbone={"name": "prithvi", "arguments": arguments})
    inputs = tiny_inputs(tmp_path / "images", SHAPE, recipe)
    assert open_stored(inputs.features).array.shape == (192, 3, 5, 7)
    model = tiny_model(tmp_path / "model", recipe, input_channels=192 + 4)
    settings = InferenceSettings(precision="float32", window=(1, 48, 64))
    infer(inputs, model, tmp_path / "1.zarr", shard=1, settings=settings)
    blend_shards([tmp_path / "1.zarr"], tmp_path / "prediction.zarr")
    wanted = np.moveaxis(open_stored(tmp_path / "prediction.zarr").read(), 1, 0)
    images, known = images_of(inputs)
    network = loaded(model)
    with caplog.at_level("INFO", "parafovea"):
        found = network(images, conditions=known)
        network(images, conditions=known)
    assert not [r for r in caplog.records if "mirrored" in r.getMessage()]  # 5 x 7 tokens
    with caplog.at_level("INFO", "parafovea"):
        for _ in range(2):
            network(images[..., :39, :50], conditions=known)
    assert [r.getMessage() for r in caplog.records if "mirrored" in r.getMessage()] == [
        "(3, 39, 50) voxels along z, y, x are mirrored at their end to (3, 40, 56), which are "
        "whole tokens of (1, 8, 8); nothing is cut off"
    ]
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    other = network(images, conditions={**known, "month": [7, 8, 9]})
    assert np.abs(other - found).max() > 1e-3


@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("window", [None, (1, 32, 32)])
def test_an_image_does_not_depend_on_those_that_share_its_batch(
    inputs: ModelInputs, model: Path, batch: int, window: tuple[int, int, int] | None
) -> None:
    images, known = images_of(inputs)
    ready = loaded(model, batch=batch, window=window)
    together = ready(images, conditions=known)
    for number in range(len(images)):
        alone = ready(images[[number]], conditions={key: [v[number]] for key, v in known.items()})
        # not bit for bit: on some processors, sums depend on where in memory an array begins
        np.testing.assert_allclose(alone[0], together[number], rtol=0, atol=1e-6)


def test_the_mirror_image_around_is_what_is_taken_without_surroundings(
    inputs: ModelInputs, model: Path
) -> None:
    images, known = images_of(inputs)
    ready = loaded(model)
    assert ready.margin > 0
    around = [(0, 0), (0, 0), *((ready.margin, ready.margin),) * 2]
    canvas = np.pad(images, around, mode="reflect")
    found = ready(images, conditions=known, surroundings=canvas)
    # the context's own pixels average what is mirrored a pixel apart from the border
    middle = (..., slice(12, -12), slice(12, -12))
    plain = ready(images, conditions=known)
    np.testing.assert_allclose(found[middle], plain[middle], atol=0.05)
    np.testing.assert_allclose(found, plain, atol=0.3)


def test_surroundings_are_seen(inputs: ModelInputs, model: Path) -> None:
    images, known = images_of(inputs)
    ready = loaded(model)
    around = [(0, 0), (0, 0), *((ready.margin, ready.margin),) * 2]
    canvas = np.pad(images, around, mode="reflect")
    other = np.pad(images, around, constant_values=1.0)
    np.testing.assert_array_equal(canvas[..., 20:30, 20:30], other[..., 20:30, 20:30])
    apart = np.abs(
        ready(images, conditions=known, surroundings=canvas)
        - ready(images, conditions=known, surroundings=other)
    )
    assert apart[..., :4, :].max() > 1e-3


def test_pixels_with_real_surroundings_are_those_of_the_whole_picture(
    inputs: ModelInputs, model: Path
) -> None:
    """Context features of a part with its surroundings are those of the whole."""
    images, _ = images_of(inputs)
    ready = loaded(model)
    whole = np.tile(images, (1, 1, 4, 4))
    m = ready.margin
    part = whole[..., 64:104, 64:120]
    canvas = whole[..., 64 - m : 104 + m, 64 - m : 120 + m]
    tokens = _context_tokens(ready, part, canvas)
    wanted = _context_tokens(ready, whole, None)
    stride = 2 * ready._wide.stride[1]  # type: ignore[union-attr]
    first = 64 // stride
    rows, columns = tokens.shape[-2:]
    inner = wanted[..., first : first + rows, first : first + columns]
    np.testing.assert_allclose(tokens[..., :-1, :-1], inner[..., :-1, :-1], atol=5e-3)


def _context_tokens(ready: TileModel, images: np.ndarray, canvas: np.ndarray | None) -> np.ndarray:
    from parafovea.geometry.grid import Grid, shape3

    stack = np.moveaxis(images, 0, 1)
    grid = Grid(shape3(stack.shape[1:]), ready.spec.spacing, unit="meter")
    block = ready._context(ready.spec.context, ready._wide, grid, stack, canvas)  # type: ignore[arg-type]
    return block.values.astype(np.float32)


def test_large_images_are_cut_into_windows(model: Path) -> None:
    spec, _ = load_model(model)
    settings = InferenceSettings(overlap=0.5)
    assert tile_layout(2, 120, 100, recipe=spec, settings=settings).window == (1, 128, 112)
    large = tile_layout(2, 1200, 300, recipe=spec, settings=settings)
    assert large.window == (1, 512, 304)
    assert large.lattice.shape == (2, 4, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "detection", "classes": ("ship",)}, "takes volumes, not tiles"),
        (
            {"kind": "segmentation", "normalization": {"method": "percentile"}},
            "percentile of a whole sample",
        ),
    ],
)
def test_models_that_cannot_take_tiles_say_so(changes: dict, message: str, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", tiny_refinement(**changes))
    with pytest.raises(ModelError, match=message):
        loaded(model)


def test_tiles_have_no_neighbours_in_order(tmp_path: Path) -> None:
    backbone = {"name": "raw", "arguments": {"neighbours": 1}}
    recipe = tiny_refinement(context=False, backbone=backbone)
    model = tiny_model(tmp_path / "model", recipe, input_channels=16)
    with pytest.raises(ModelError, match=r"tiny takes neighbouring planes .*tiles have no order"):
        loaded(model)
