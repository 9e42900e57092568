"""Augmented windows: every channel and the truth are taken from the same places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from pydantic import ValidationError
from tiny_sample import random_network, tiny_recipe, tiny_spec
from tiny_training import opened, training_sample

from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.resample import reflected_indices
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.token_sampling import interpolate_at
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import AugmentationSettings, TrainingSettings
from parafovea.training.augmentation import (
    jittered,
    mirrored_places,
    random_turns,
    redeveloped,
    turned,
    warped_places,
    with_missing_planes,
)
from parafovea.training.module import FusionTask
from parafovea.training.objectives.segmentation import SegmentationObjective
from parafovea.training.samples import TrainingSample
from parafovea.training.training_windows import TrainingWindows

FLAT = Grid((3, 400, 400), (50, 8, 8))
CUBE = Grid((200, 200, 200), (8, 8, 8))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def warps(**values: Any) -> AugmentationSettings:
    return AugmentationSettings.model_validate({"mirror": False, "jitter": 0, **values})


def places_of(box: Box) -> np.ndarray[Any, Any]:
    axes = [np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float64)


def steps(places: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    """Return the distance between neighbours along an axis of the window."""
    return np.linalg.norm(np.diff(places, axis=axis), axis=-1)


@pytest.mark.parametrize("turns", [["z"], ["y"], ["x"], ["yx"], ["z", "y", "x"]])
def test_mirroring_twice_changes_nothing_and_once_what_it_names(turns: list[str]) -> None:
    values = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    assert torch.equal(turned(turned(values, turns), turns), values)
    wanted = values.numpy()
    for turn in turns:
        axis = 1 + "zyx".find(turn)
        wanted = wanted.swapaxes(2, 3) if turn == "yx" else np.flip(wanted, axis)
    np.testing.assert_array_equal(turned(values, turns).numpy(), wanted)


def test_only_square_windows_swap_axes() -> None:
    drawn = [random_turns("yx", square=square, rng=rng(i)) for square in (0, 1) for i in range(50)]
    assert not any("yx" in turns for turns in drawn[:50])
    assert {turn for turns in drawn[50:] for turn in turns} == {"y", "x", "yx"}


def test_jitter_changes_channels_by_its_share() -> None:
    values = torch.from_numpy(rng().normal(3, 2, (200, 4, 5, 6)).astype(np.float32))
    moved = jittered(values, 0.1, rng(1))
    assert torch.equal(moved, jittered(values, 0.1, rng(1)))
    assert torch.equal(jittered(values, 0, rng(1)), values)
    gains = moved.std(dim=(1, 2, 3)) / values.std(dim=(1, 2, 3))
    assert abs(gains.mean() - 1) < 0.03
    assert 0.07 < gains.std() < 0.13


def test_nothing_is_redeveloped_and_nothing_drawn_where_nothing_is_asked() -> None:
    draw = rng()
    voxels = torch.rand(2, 3, 8, 8)
    assert redeveloped(voxels, AugmentationSettings(), draw, flat=True) is voxels
    assert draw.random() == rng().random()


def test_an_exponent_is_that_of_all_channels() -> None:
    voxels = torch.rand(3, 1, 8, 8) + 0.1
    exponents = [
        (redeveloped(voxels, warps(gamma=0.5), rng(seed), flat=True).log() / voxels.log())
        for seed in range(200)
    ]
    drawn = [float(exponent.median()) for exponent in exponents]
    for exponent, one in zip(exponents, drawn, strict=True):
        torch.testing.assert_close(exponent, torch.full_like(exponent, one), rtol=2e-2, atol=1e-3)
    assert np.std(np.log(drawn)) == pytest.approx(0.5, rel=0.15)


def test_noise_and_blur_have_their_strength_and_their_share_of_the_windows() -> None:
    grey = torch.full((1, 1, 40, 40), 0.5)
    spreads = [
        float(redeveloped(grey, warps(noise=0.2), rng(seed), flat=True).std())
        for seed in range(300)
    ]
    assert max(spreads) <= 0.22
    assert np.mean(np.array(spreads) > 0) == pytest.approx(0.5, abs=0.1)
    point = torch.zeros(1, 5, 41, 41)
    point[0, 2, 20, 20] = 1
    for flat in (True, False):
        blurred = [
            redeveloped(point, warps(blur=2), rng(seed), flat=flat)[0] for seed in range(300)
        ]
        changed = [values for values in blurred if float(values.max()) < 1]
        assert len(changed) / 300 == pytest.approx(1 / 3, abs=0.1)
        if flat:
            assert all(float(values.sum()) == pytest.approx(1, abs=0.02) for values in changed)
        assert any(float(values[1].sum()) > 0.1 for values in changed) != flat


def test_missing_planes_are_those_that_inference_mirrors() -> None:
    steps_of = (0, -1, 1, -2, 2)
    planes = torch.arange(5.0)[None, :, None, None]  # one pixel of five sections
    at = {(0, 1, 1, 2, 2), (0, -1, -1, -2, -2), (0, 0, 0, 0, 0), steps_of}
    seen: dict[tuple[int, ...], int] = {}
    for seed in range(600):
        channels = torch.stack([planes[:, 2 + step] for step in steps_of]).reshape(5, 1, 1, 1)
        both = torch.cat([channels, 10 + channels])
        found = with_missing_planes(both, steps_of, 0.6, rng(seed)).flatten() - 2
        assert torch.equal(found[5:], found[:5] + 10)  # the same in every band
        case = tuple(int(value) for value in found[:5])
        seen[case] = seen.get(case, 0) + 1
    assert set(seen) == at
    assert seen[steps_of] / 600 == pytest.approx(0.4, abs=0.07)
    assert seen[(0, 0, 0, 0, 0)] / 600 == pytest.approx(0.2, abs=0.06)
    found = {
        tuple(
            with_missing_planes(both, steps_of, 0, rng(seed), reverse=True).flatten()[:5].int() - 2
        )
        for seed in range(20)
    }
    assert {tuple(int(v) for v in case) for case in found} == {steps_of, (0, 1, -1, 2, -2)}


@pytest.mark.parametrize(
    ("recipe", "augmentation", "reason"),
    [
        ({"raw_input": False}, {"noise": 0.1}, "takes features of filterbank alone"),
        ({}, {"missing_planes": 0.3}, "neighbouring planes, which the network does not take"),
    ],
)
def test_changes_of_voxels_need_voxels(
    recipe: dict[str, Any], augmentation: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        TrainingSettings.model_validate(
            {
                "recipe": tiny_recipe(dimensions=2, **recipe).model_dump(),
                "samples": ["a"],
                "validation": ["a"],
                "augmentation": augmentation,
            }
        )


def test_nothing_is_moved_where_nothing_is_asked() -> None:
    assert warped_places(CUBE.box, CUBE, warps(), rng(), dimensions=3) is None


def test_rotation_keeps_distances_the_middle_and_z() -> None:
    box = Box((1, 100, 120), (2, 132, 152))
    places = warped_places(box, FLAT, warps(rotate=True), rng(), dimensions=2)
    assert places is not None
    np.testing.assert_allclose(steps(places, 1), 1, atol=1e-9)
    np.testing.assert_allclose(steps(places, 2), 1, atol=1e-9)
    np.testing.assert_allclose(places.mean(axis=(0, 1, 2)), (1, 115.5, 135.5))
    np.testing.assert_array_equal(places[..., 0], 1)
    assert np.abs(np.diff(places[0, 0], axis=0)[0] - (0, 0, 1)).max() > 0.05


@pytest.mark.parametrize(("dimensions", "axes"), [(2, (1, 2)), (3, (0, 1, 2))])
def test_zoom_is_alike_on_all_axes_and_within_its_limits(
    dimensions: int, axes: tuple[int, ...]
) -> None:
    box = Box((80, 80, 80), (112, 112, 112))
    factors = []
    for seed in range(40):
        places = warped_places(box, CUBE, warps(zoom=0.25), rng(seed), dimensions=dimensions)
        assert places is not None
        found = {axis: float(steps(places, axis).mean()) for axis in range(3)}
        assert all(found[axis] == pytest.approx(found[axes[0]]) for axis in axes)
        if dimensions == 2:
            assert found[0] == pytest.approx(1)
        factors.append(found[2])
    assert 0.8 <= min(factors) < 0.87
    assert 1.15 < max(factors) <= 1.25


def test_elastic_moves_by_its_deviation_in_the_finest_voxels_smoothly() -> None:
    grid = Grid((100, 100, 100), (16, 8, 8))
    box = Box((30, 30, 30), (62, 62, 62))
    drawn = [warped_places(box, grid, warps(elastic=2), rng(i), dimensions=3) for i in range(30)]
    moved = np.stack([places - places_of(box) for places in drawn if places is not None])
    # Interpolation between independent values is less than they are: 0.5 to 1 of their deviation.
    assert 0.5 * 2 < moved[..., 2].std() < 2
    assert moved[..., 0].std() / moved[..., 2].std() == pytest.approx(0.5, abs=0.08)
    assert np.diff(moved, axis=3).std() < 0.5 * moved.std()


def test_mirrored_places_are_inside_and_agree_with_mirrored_voxels() -> None:
    whole = np.arange(-30, 40)
    places = np.stack([whole, whole, whole], axis=-1).astype(float)
    mirrored = mirrored_places(places, (7, 20, 1))
    for axis, count in enumerate((7, 20, 1)):
        np.testing.assert_array_equal(mirrored[:, axis], reflected_indices(-30, 40, count))
    inside = mirrored_places(rng().uniform(-50, 50, (1000, 3)), (7, 20, 1))
    assert (inside >= 0).all()
    assert (inside <= (6, 19, 0)).all()


@pytest.mark.parametrize("shape", [(1, 20, 24), (6, 20, 24)])
def test_values_between_voxels_are_linear(shape: tuple[int, int, int]) -> None:
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij")
    positions = rng().uniform(0, 1, (1, 9, 9, 3)) * (np.asarray(shape) - 1)
    found = interpolate_at(torch.from_numpy(np.stack(axes)), positions)
    np.testing.assert_allclose(found.permute(1, 2, 3, 0).numpy(), positions, atol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_window_taken_from_its_own_voxels_is_the_window(tmp_path: Path, dimensions: int) -> None:
    recipe = tiny_recipe(dimensions=dimensions, window=(1 if dimensions == 2 else 16, 32, 32))
    sample = opened(training_sample(tmp_path / "train", recipe, (20, 60, 72)), recipe)
    spec = tiny_spec(recipe)
    settings = TrainingSettings(recipe=recipe, samples=("a",), validation=("b",))
    task = FusionTask(
        random_network(FusedUNet.from_spec(spec)), spec, settings, SegmentationObjective(spec, {})
    )
    box = Box.sized((2, 11, 17), recipe.window)
    plain = sample.window(box, 0)
    warped = sample.warped_window(box, 0, places_of(box))
    np.testing.assert_array_equal(warped.target, plain.target)
    for found, wanted in zip(task._inputs(warped), task._inputs(plain), strict=True):
        assert found is not None
        assert wanted is not None
        torch.testing.assert_close(found, wanted, atol=2e-4, rtol=0)


def test_warped_windows_hold_the_truth_of_their_places(tmp_path: Path) -> None:
    recipe = tiny_recipe(dimensions=2, window=(1, 32, 32))
    made = training_sample(tmp_path / "train", recipe, (6, 40, 48))
    truth = tifffile.imread(made.truth)
    settings = warps(rotate=True, zoom=0.2, elastic=1)
    windows = drawn(made, recipe, settings)
    assert any((w.places != np.rint(w.places)).any() for w in windows if w.places is not None)
    for window in windows:
        assert window.places is not None
        z, y, x = np.moveaxis(np.rint(window.places).astype(int), -1, 0)
        np.testing.assert_array_equal(window.target, truth[z, y, x])
    again = drawn(made, recipe, settings)
    assert all(np.array_equal(a.places, b.places) for a, b in zip(windows, again, strict=True))  # type: ignore[arg-type]


def drawn(sample: TrainingSample, recipe: Recipe, settings: AugmentationSettings) -> list[Any]:
    dataset = TrainingWindows(
        [opened(sample, recipe)],
        recipe,
        count=6,
        foreground=0.5,
        seed=0,
        augmentation=settings,
    )
    return [dataset[index] for index in range(len(dataset))]


def test_turning_needs_square_pixels() -> None:
    recipe = tiny_recipe(spacing=(8, 8, 12), context=False)
    with pytest.raises(ValidationError, match=r"requires square pixels, .* 8 by 12 nanometer"):
        TrainingSettings(
            recipe=recipe,
            samples=("a",),
            validation=("b",),
            augmentation=AugmentationSettings(rotate=True),
        )
