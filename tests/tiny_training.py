"""A small problem to learn, for tests: bright and dark places of a smooth volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tiny_sample import smooth_volume, tiny_inputs

from parafovea.settings.recipe import Recipe
from parafovea.training.samples import TrainingSample

METADATA = "spacing=8,8,8 unit=nanometer"


def truth_of(volume: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return 0, 1 where it is dark and 2 where it is bright: what a threshold can tell."""
    labels = np.zeros(volume.shape, np.uint8)
    labels[volume < 0.4] = 1
    labels[volume > 0.6] = 2
    return labels


def training_sample(folder: Path, recipe: Recipe, shape: tuple[int, int, int]) -> TrainingSample:
    """Write a sample with its features and its truth; its name is the folder's."""
    folder.mkdir(parents=True)
    inputs = tiny_inputs(folder, shape, recipe)
    truth = folder / "truth.tif"
    tifffile.imwrite(truth, truth_of(smooth_volume(shape)), photometric="minisblack")
    return TrainingSample(folder.name, inputs, str(truth), METADATA)
