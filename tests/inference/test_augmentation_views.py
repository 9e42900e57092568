"""Test-time augmentation: equivariant predictions, from features that each view has of its own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sample import infer, smooth_volume, store_volume, tiny_model, tiny_recipe

from parafovea.errors import GridError, ModelError
from parafovea.geometry.grid import Grid
from parafovea.geometry.symmetry import Symmetry
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.extract_features import extract_features
from parafovea.storage.store import open_stored

FLIPS = ["flip_x", "flip_y", "flip_x+flip_y"]
TURNS = ["rotate_90_xy", "rotate_90_xy+rotate_90_xy", "rotate_90_xy+rotate_90_xy+rotate_90_xy"]


def recipe_of(stride: int = 1, **changes: Any) -> Recipe:
    """Return a recipe whose tokens are blocks of `stride` voxels."""
    arguments = {"scales": [1.0], "kinds": ["gaussian", "gradient"], "stride": stride}
    backbone = {"name": "filterbank", "arguments": arguments}
    context = {"spacing": (16, 16, 16), "backbone": backbone}
    return tiny_recipe(**{"backbone": backbone, "context": context, **changes})


def view_inputs(folder: Path, volume: Path, recipe: Recipe, name: str = "") -> ModelInputs:
    """Write the features and the context of one view."""
    features, context = folder / name / "features.zarr", folder / name / "context.zarr"
    wide = recipe.context
    assert wide is not None
    for output, view in ((features, recipe), (context, wide)):
        extract_features(
            volume,
            output,
            spacing=view.spacing,
            backbone=view.backbone,
            dimensions=recipe.network.dimensions,
            augmentation=name,
        )
    return ModelInputs(volume, features, context, name)


def predict(
    folder: Path, voxels: np.ndarray[Any, Any], recipe: Recipe, model: Path, **chosen: Any
) -> np.ndarray[Any, Any]:
    """Return the blended prediction (class, z, y, x) of a volume of 8 nm voxels."""
    inference = InferenceSettings(**{"precision": "float32", "shards": 1, "window": None, **chosen})
    assert inference.shards != "auto"
    volume = store_volume(folder / "volume.ome.zarr", np.ascontiguousarray(voxels))
    inputs, *views = (view_inputs(folder, volume, recipe, name) for name in ("", *inference.tta))
    shards = [folder / f"{number}.zarr" for number in range(1, inference.shards + 1)]
    for number, shard in enumerate(shards, start=1):
        infer(inputs, model, shard, shard=number, settings=inference, views=views)
    blend_shards(shards, folder / "prediction.zarr")
    return open_stored(folder / "prediction.zarr").read()


@cache
def model_of(folder: Path, stride: int, window: tuple[int, int, int]) -> tuple[Recipe, Path]:
    recipe = recipe_of(stride, window=window)
    return recipe, tiny_model(folder / f"model_{stride}_{window[0]}", recipe)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


# Half windows fit these sizes, so that windows lie alike from both ends; tokens do not.
sizes = st.sampled_from([16, 32, 48])


@settings(max_examples=8)
@given(
    shape=st.tuples(st.sampled_from([16, 24]), sizes, sizes),
    stride=st.sampled_from([1, 3, 5]),
    views=st.sampled_from([["flip_x"], ["flip_z"], FLIPS, TURNS]),
    seed=st.integers(0, 99),
)
def test_the_prediction_of_a_turned_volume_is_the_turned_prediction(
    models: Path, shape: tuple[int, int, int], stride: int, views: list[str], seed: int
) -> None:
    recipe, model = model_of(models, stride, (16, 32, 32))
    voxels = smooth_volume(shape, seed)
    with TemporaryDirectory() as folder:
        plain = predict(Path(folder) / "plain", voxels, recipe, model, tta=views)
        for name in views[:2]:
            turn = Symmetry.named(name)
            turned = turn.turned(voxels)
            found = predict(Path(folder) / name, turned, recipe, model, tta=views)
            np.testing.assert_allclose(found, turn.turned(plain), atol=1e-5)


@settings(max_examples=6)
@given(
    shape=st.tuples(*[st.integers(4, 16).map(lambda half: 2 * half)] * 3),
    views=st.sampled_from([["flip_z"], FLIPS, TURNS, ["rotate_90_xz+rotate_90_xz"]]),
)
def test_whole_volumes_of_any_even_size_are_equivariant_too(
    models: Path, shape: tuple[int, int, int], views: list[str]
) -> None:
    recipe, model = model_of(models, 3, (16, 32, 32))
    voxels = smooth_volume(shape)
    chosen = {"tta": views, "mode": "whole_volume"}
    with TemporaryDirectory() as folder:
        plain = predict(Path(folder) / "plain", voxels, recipe, model, **chosen)
        turn = Symmetry.named(views[-1])
        found = predict(Path(folder) / "turned", turn.turned(voxels), recipe, model, **chosen)
        np.testing.assert_allclose(found, turn.turned(plain), atol=1e-5)


def test_without_augmentation_the_network_is_not_equivariant(tmp_path: Path, models: Path) -> None:
    recipe, model = model_of(models, 3, (16, 32, 32))
    voxels = smooth_volume((16, 32, 48))
    plain = predict(tmp_path / "plain", voxels, recipe, model)
    found = predict(tmp_path / "turned", voxels[..., ::-1], recipe, model)
    assert np.abs(found - plain[..., ::-1]).max() > 1e-2


def test_the_result_is_the_mean_over_the_views_turned_back(tmp_path: Path, models: Path) -> None:
    # Windows of equal sides, since rotate_90_yz turns them too.
    recipe, model = model_of(models, 3, (32, 32, 32))
    voxels = smooth_volume((32, 48, 32))
    names = ["", "flip_z", "flip_x+rotate_90_yz"]
    single = []
    for name in names:
        turn = Symmetry.named(name)
        found = predict(tmp_path / f"of {name}", turn.turned(voxels), recipe, model)
        single.append(turn.inverse.turned(found))
    together = predict(tmp_path / "all", voxels, recipe, model, tta=names[1:])
    np.testing.assert_allclose(together, np.mean(single, axis=0), atol=1e-5)


def test_shards_and_the_order_of_views_do_not_change_a_bit(tmp_path: Path, models: Path) -> None:
    recipe, model = model_of(models, 3, (16, 32, 32))
    voxels = smooth_volume((24, 48, 64))
    views = ["flip_x", "rotate_90_xz", "flip_y+flip_z"]
    one = predict(tmp_path / "one", voxels, recipe, model, tta=views)
    many = predict(tmp_path / "many", voxels, recipe, model, tta=views[::-1], shards=4)
    np.testing.assert_array_equal(one, many)
    np.testing.assert_allclose(one.sum(axis=0), 1, atol=1e-4)
    facts = open_stored(tmp_path / "one" / "prediction.zarr").attributes
    assert facts["inference"]["tta"] == views


def test_flat_networks_are_turned_within_the_plane(tmp_path: Path) -> None:
    recipe = tiny_recipe(dimensions=2)
    model = tiny_model(tmp_path / "model", recipe)
    voxels = smooth_volume((2, 32, 48))
    plain = predict(tmp_path / "plain", voxels, recipe, model, tta=TURNS)
    found = predict(tmp_path / "turned", np.rot90(voxels, axes=(1, 2)), recipe, model, tta=TURNS)
    np.testing.assert_allclose(found, np.rot90(plain, axes=(2, 3)), atol=1e-5)
    with pytest.raises(GridError, match="the network is 2D"):
        predict(tmp_path / "deep", voxels, recipe, model, tta=["flip_z"])


def test_a_view_has_features_of_its_own(tmp_path: Path) -> None:
    recipe = recipe_of(5)
    volume = store_volume(tmp_path / "volume.ome.zarr", smooth_volume((16, 32, 48)))
    plain = view_inputs(tmp_path, volume, recipe)
    view = view_inputs(tmp_path, volume, recipe, "flip_x")
    before, after = open_stored(plain.features), open_stored(view.features)
    assert after.attributes["features"]["augmentation"] == "flip_x"
    # 48 voxels are nine tokens of 5 and a part of one, which lies at the other end of the view.
    assert np.abs(after.read()[..., ::-1] - before.read()).max() > 0.1


def test_features_of_another_view_are_refused(tmp_path: Path, models: Path) -> None:
    recipe, model = model_of(models, 3, (16, 32, 32))
    volume = store_volume(tmp_path / "volume.ome.zarr", smooth_volume((16, 32, 32)))
    plain, flipped = (view_inputs(tmp_path, volume, recipe, name) for name in ("", "flip_x"))
    chosen = InferenceSettings(tta=("flip_x",))
    wrong = ModelInputs(volume, plain.features, plain.context, "flip_x")
    for views, message in (
        ([wrong], "has features of the view '', not of 'flip_x'"),
        ([], r"inference.tta is \['flip_x'\]: run extract_features"),
    ):
        with pytest.raises(ModelError, match=message):
            infer(plain, model, tmp_path / "s", shard=1, settings=chosen, views=views)
    with pytest.raises(ModelError, match="has features of the view 'flip_x', not of ''"):
        infer(
            ModelInputs(volume, flipped.features, flipped.context),
            model,
            tmp_path / "s",
            shard=1,
            settings=InferenceSettings(),
        )


def test_rotations_of_unequal_voxels_are_refused_where_features_are_made(tmp_path: Path) -> None:
    recipe = recipe_of(3)
    grid = Grid((16, 32, 32), (16, 8, 8))
    volume = store_volume(tmp_path / "volume.ome.zarr", smooth_volume(grid.shape), grid)
    with pytest.raises(GridError, match=r"rotates voxels of 16 x 8 x 8 .* to 8 x 8 x 16"):
        extract_features(
            volume,
            tmp_path / "f.zarr",
            spacing=(16, 8, 8),
            backbone=recipe.backbone,
            dimensions=3,
            augmentation="rotate_90_xz",
        )
