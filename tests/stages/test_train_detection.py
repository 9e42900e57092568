"""A detection learns heatmaps: easy bright balls are found, and half of other windows hold body."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from tiny_sample import BACKBONE, store_scan, tiny_recipe
from tiny_training import opened, train

from parafovea.errors import SourceError
from parafovea.geometry.grid import Grid
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.models.folder import load_model
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import AugmentationSettings, TrainingSettings
from parafovea.stages import train_model as stage
from parafovea.stages.extract_features import extract_features
from parafovea.training.heatmap_truth import FULL, HeatmapTruth
from parafovea.training.samples import TrainingSample
from parafovea.training.training_windows import TrainingWindows

# As in test_train_model.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:You have overridden `transfer_batch_to_device`"),
    pytest.mark.filterwarnings("ignore:.*could not find the monitored key.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

SHAPE = (32, 48, 80)
BALLS = [((10, 12, 14), 2.5), ((20, 30, 20), 4.0), ((12, 24, 34), 1.5)]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return tiny_recipe(
        kind="detection",
        classes=("nodule",),
        context=False,
        unit="millimeter",
        spacing=(4, 4, 4),
        backbone=BACKBONE,
        normalization={"method": "window", "low": -1000, "high": 400},
        window=(16, 16, 16),
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> TrainingSample:
    """Return a CT of 4 mm voxels with bright balls in a body that ends in the middle along x."""
    folder = tmp_path_factory.mktemp("scan")
    grid = Grid(SHAPE, recipe.spacing, unit=recipe.unit)
    z, y, x = np.indices(SHAPE)
    hu = np.random.default_rng(0).normal(0, 30, SHAPE)
    hu[:, :, 40:] = -1000
    labels = np.zeros(SHAPE, np.uint8)
    for (cz, cy, cx), radius in BALLS:
        labels[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = 1
    hu[labels == 1] = 300
    volume, features = folder / "volume.ome.zarr", folder / "features.zarr"
    store_scan(volume, np.clip((hu + 1000) / 1400, 0, 1), grid, zero=-1000, one=400)
    extract_features(
        volume, features, spacing=recipe.spacing, backbone=recipe.backbone, dimensions=3
    )
    tifffile.imwrite(folder / "truth.tif", labels, photometric="minisblack")
    metadata = "spacing=4,4,4 unit=millimeter"
    return TrainingSample(
        "scan", ModelInputs(volume, features), str(folder / "truth.tif"), metadata
    )


def windows(sample: TrainingSample, recipe: Recipe, **changes: Any) -> TrainingWindows:
    values = {"count": 200, "foreground": 0.0, "body": 0.0, "seed": 0, **changes}
    return TrainingWindows(
        [opened(sample, recipe)], recipe, augmentation=AugmentationSettings(), **values
    )


def test_most_of_some_easy_findings_are_found(
    tmp_path: Path, sample: TrainingSample, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "computes_bfloat16", lambda device: False)
    settings = TrainingSettings(
        recipe=recipe,
        samples=("scan",),
        validation=("scan",),
        steps=100,
        validate_every=25,
        batch_size=4,
        learning_rate=2e-2,
        foreground=0.8,
        augmentation=AugmentationSettings(jitter=0),
        seed=1,
    )
    train(tmp_path, [sample], [sample], settings)
    history = pd.read_csv(tmp_path / "model" / "history.tsv", sep="\t")
    assert list(history.columns) == [
        "step",
        "loss",
        "validation_score",
        "cpm.nodule",
        "dice.nodule",
    ]
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0]
    # Two of three, and nothing else.
    assert history["cpm.nodule"].max() > 0.6
    np.testing.assert_allclose(
        history["validation_score"], history[["cpm.nodule", "dice.nodule"]].mean(axis=1), rtol=1e-5
    )
    spec, _ = load_model(tmp_path / "model")
    assert spec.kind == "detection"
    best = history["validation_score"].idxmax()
    assert spec.training["best_step"] == history["step"][best]
    scores = json.loads((tmp_path / "model" / "model.json").read_text())["training"]
    assert scores["validation_scores"]["cpm.nodule"] > 0.6


def test_windows_are_drawn_around_findings_each_as_likely(
    sample: TrainingSample, recipe: Recipe
) -> None:
    drawn = windows(sample, recipe, foreground=1.0)
    held = np.zeros(len(BALLS))
    for index in range(len(drawn)):
        window = drawn[index]
        assert window.target.shape == (1, 16, 16, 16)
        assert window.target.max() > FULL / 2
        for number, (centre, _) in enumerate(BALLS):
            inside = zip(window.box.start, centre, window.box.stop, strict=True)
            held[number] += all(a <= c < b for a, c, b in inside)
    # Those of one may hold another, too.
    assert held.min() > len(drawn) / 4


def test_the_target_is_the_heatmap_at_the_window(sample: TrainingSample, recipe: Recipe) -> None:
    loaded = opened(sample, recipe)
    assert isinstance(loaded.truth, HeatmapTruth)
    assert len(loaded.truth.findings[0]) == len(BALLS)
    window = windows(sample, recipe, foreground=1.0)[3]
    np.testing.assert_array_equal(window.target[0], loaded.truth.heatmaps[0][window.box.slices])


def test_other_windows_hold_body_as_often_as_asked(sample: TrainingSample, recipe: Recipe) -> None:
    def in_air(dataset: TrainingWindows) -> int:
        return sum(dataset[index].box.start[2] >= 44 for index in range(len(dataset)))

    anywhere, half, always = (
        in_air(windows(sample, recipe, body=share)) for share in (0.0, 0.5, 1.0)
    )
    assert always == 0
    assert 0 < half < 0.75 * anywhere


def test_a_truth_without_findings_is_refused_with_the_fix(
    tmp_path: Path, sample: TrainingSample, recipe: Recipe
) -> None:
    tifffile.imwrite(tmp_path / "none.tif", np.zeros(SHAPE, np.uint8), photometric="minisblack")
    empty = TrainingSample("empty", sample.inputs, str(tmp_path / "none.tif"), sample.metadata)
    with pytest.raises(SourceError, match=r"no voxel of class 1 \(nodule\) in the truth of empty"):
        windows(empty, recipe)
    settings = TrainingSettings(recipe=recipe, samples=("scan",), validation=("empty",), steps=1)
    with pytest.raises(
        SourceError, match=r"in the truth of empty: validate on samples with every class"
    ):
        train(tmp_path, [sample], [empty], settings)
    assert not (tmp_path / "model").exists()
