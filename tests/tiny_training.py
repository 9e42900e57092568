"""A small problem to learn, for tests: bright and dark places of a smooth volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tiny_sample import smooth_volume, tiny_inputs

from parafovea.kinds.kind import kind_named
from parafovea.kinds.reference import resolve
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.stages.train_model import train_model
from parafovea.training.samples import OpenSample, TrainingSample

METADATA = "spacing=8,8,8 unit=nanometer"


def truth_of(volume: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return 0, 1 where it is dark and 2 where it is bright: what a threshold can tell."""
    labels = np.zeros(volume.shape, np.uint8)
    labels[volume < 0.4] = 1
    labels[volume > 0.6] = 2
    return labels


def objective_of(recipe: Recipe) -> str:
    """Return the name of what a model learns."""
    objective = kind_named(recipe.kind).objective
    assert objective is not None
    return objective


def opened(sample: TrainingSample, recipe: Recipe) -> OpenSample:
    """Return a sample with the truth that a model of the recipe's kind learns from."""
    return OpenSample(sample, recipe, resolve(objective_of(recipe)))


def training_sample(folder: Path, recipe: Recipe, shape: tuple[int, int, int]) -> TrainingSample:
    """Write a sample with its features and its truth; its name is the folder's."""
    folder.mkdir(parents=True)
    inputs = tiny_inputs(folder, shape, recipe)
    truth = folder / "truth.tif"
    tifffile.imwrite(truth, truth_of(smooth_volume(shape)), photometric="minisblack")
    return TrainingSample(folder.name, inputs, str(truth), METADATA)


def train(
    folder: Path,
    training: Sequence[TrainingSample],
    validation: Sequence[TrainingSample],
    settings: TrainingSettings,
) -> Path:
    """Run `train_model` on samples that are there; return the model folder."""
    samples = [*training, *validation]
    train_model(
        [sample.inputs.volume for sample in samples],
        [sample.inputs.features for sample in samples],
        [sample.inputs.context for sample in samples if sample.inputs.context is not None],
        model=folder / "model",
        name="tiny",
        samples=[
            {"name": sample.name, "truth": sample.truth, "metadata": sample.metadata}
            for sample in samples
        ],
        settings=settings,
        checkpoints=str(folder / "checkpoints"),
        objective=objective_of(settings.recipe),
    )
    return folder / "model"
