"""Windows to learn from: the same in every run, and what the truth holds there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tiny_sample import smooth_volume, tiny_recipe
from tiny_training import opened, training_sample

from parafovea.errors import SourceError
from parafovea.geometry.grid import Box
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import AugmentationSettings
from parafovea.training.samples import TrainingSample
from parafovea.training.training_truth import TrainingWindow
from parafovea.training.training_windows import TrainingWindows, VolumeWindows


def windows(
    sample: TrainingSample, recipe: Recipe, *, seed: int = 0, foreground: float = 0.5
) -> TrainingWindows:
    loaded = opened(sample, recipe)
    return TrainingWindows(
        [loaded],
        recipe,
        count=12,
        foreground=foreground,
        seed=seed,
        augmentation=AugmentationSettings(),
    )


def places(dataset: TrainingWindows) -> list[Box]:
    return [dataset[index].box for index in range(len(dataset))]


def same(one: TrainingWindow, other: TrainingWindow) -> bool:
    pairs = [
        (one.target, other.target),
        (one.region.raw, other.region.raw),
        (one.region.features.values, other.region.features.values),
    ]
    return one.box == other.box and all(np.array_equal(a, b) for a, b in pairs)  # type: ignore[arg-type]


def test_a_window_is_decided_by_seed_and_index(sample: TrainingSample, recipe: Recipe) -> None:
    first, again = windows(sample, recipe), windows(sample, recipe)
    forwards = [first[i] for i in range(len(first))]
    backwards = [again[i] for i in reversed(range(len(again)))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert places(windows(sample, recipe, seed=1)) != places(first)
    assert len(set(places(first))) > 6


def test_targets_are_the_truth_at_the_window(sample: TrainingSample, recipe: Recipe) -> None:
    truth = tifffile.imread(sample.truth)
    voxels = smooth_volume(truth.shape)
    for index in range(4):
        window = windows(sample, recipe)[index]
        assert window.box.shape == recipe.window
        np.testing.assert_array_equal(window.target, truth[window.box.slices])
        np.testing.assert_array_equal(
            window.region.raw_window(window.box), voxels[window.box.slices]
        )


def test_every_window_lies_inside_and_holds_a_foreground_voxel_when_asked(
    sample: TrainingSample, recipe: Recipe
) -> None:
    dataset = windows(sample, recipe, foreground=1.0)
    whole = Box.whole(tifffile.imread(sample.truth).shape)
    for index in range(len(dataset)):
        assert dataset[index].box.intersection(whole) == dataset[index].box
        assert dataset[index].target.any()


def test_volumes_smaller_than_a_window_are_mirrored_truth_included(
    tmp_path: Path,
) -> None:
    recipe = tiny_recipe(window=(16, 32, 32))
    small = training_sample(tmp_path / "small", recipe, (10, 40, 24))
    window = windows(small, recipe)[0]
    truth = np.pad(tifffile.imread(small.truth), ((3, 3), (0, 0), (4, 4)), mode="reflect")
    start = window.box.start
    assert (start[0], start[2]) == (-3, -4)
    np.testing.assert_array_equal(window.target, truth[:, start[1] : start[1] + 32])


def test_volume_windows_cover_every_volume(sample: TrainingSample, recipe: Recipe) -> None:
    loaded = opened(sample, recipe)
    dataset = VolumeWindows([loaded, loaded], recipe.window, overlap=0.25)
    seen = np.zeros((2, *loaded.inputs.grid.shape), dtype=bool)
    for window in dataset:
        seen[(window.sample, *window.box.slices)] = True
    assert seen.all()
    assert len(list(dataset)) == len(dataset)


def test_anchors_are_voxels_of_their_class(sample: TrainingSample, recipe: Recipe) -> None:
    truth = tifffile.imread(sample.truth)
    found = opened(sample, recipe).truth.anchors(np.random.default_rng(0))
    assert [name for name, _ in found] == list(recipe.classes)
    for index, (_, voxels) in enumerate(found):
        assert len(voxels) > 0
        assert (truth[tuple(voxels.T)] == index).all()


def test_a_class_that_no_truth_holds_is_refused_with_the_fix(
    tmp_path: Path, sample: TrainingSample, recipe: Recipe
) -> None:
    labels = tifffile.imread(sample.truth)
    labels[labels == 2] = 0
    tifffile.imwrite(tmp_path / "truth.tif", labels, photometric="minisblack")
    poorer = replace(sample, truth=str(tmp_path / "truth.tif"))
    with pytest.raises(
        SourceError, match=r"no voxel of class 2 \(bright\) in the truth of train: "
    ):
        windows(poorer, recipe)


def test_a_truth_of_another_shape_is_refused(
    tmp_path: Path, sample: TrainingSample, recipe: Recipe
) -> None:
    tifffile.imwrite(
        tmp_path / "truth.tif", np.zeros((20, 24, 80), np.uint8), photometric="minisblack"
    )
    with pytest.raises(SourceError, match="not cover the same region as the prediction along x"):
        opened(replace(sample, truth=str(tmp_path / "truth.tif")), recipe)


def test_a_truth_with_unknown_classes_is_refused(
    tmp_path: Path, sample: TrainingSample, recipe: Recipe
) -> None:
    labels = tifffile.imread(sample.truth)
    labels[0, 0, 0] = 9
    tifffile.imwrite(tmp_path / "truth.tif", labels, photometric="minisblack")
    with pytest.raises(SourceError, match=r"holds 9 .* classes are 0 to 2"):
        windows(replace(sample, truth=str(tmp_path / "truth.tif")), recipe)
