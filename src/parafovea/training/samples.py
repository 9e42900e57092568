"""Training samples opened: their cached features, with the truth at each voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.formats.metadata import parse_metadata
from parafovea.formats.opening import open_source
from parafovea.formats.source import Source
from parafovea.formats.truth import open_truth
from parafovea.geometry.grid import Box
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.settings.recipe import Recipe
from parafovea.training.augmentation import box_around
from parafovea.training.objectives.objective import Objective
from parafovea.training.truth import TrainingWindow


@dataclass(frozen=True)
class TrainingSample:
    """A line of the sheet to learn from.

    Parameters
    ----------
    name : str
        The sample's name.
    inputs : ModelInputs
        Its cached volume and features.
    truth : str
        Volume of class indices, on the source's grid; of a refinement, of the bands to become.
    metadata : str
        The sheet's `metadata` of the sample.
    folder : Path
        Folder that relative sidecar paths count from.
    """

    name: str
    inputs: ModelInputs
    truth: str
    metadata: str = ""
    folder: Path = Path()


def training_samples(
    samples: Sequence[Mapping[str, str]],
    volumes: Sequence[Path],
    features: Sequence[Path],
    contexts: Sequence[Path] = (),
) -> list[TrainingSample]:
    """Return samples with their cached volumes and features.

    Parameters
    ----------
    samples : sequence of mapping
        The `name`, `truth` and `metadata` of each.
    volumes, features : sequence of Path
        Those of each sample.
    contexts : sequence of Path
        Those of each sample; empty where the model sees no context.

    Raises
    ------
    ValueError
        If there is not one volume, one store of features and, where there are any, one of context
        for each sample.
    """
    wide: Sequence[Path | None] = contexts or [None] * len(samples)
    return [
        TrainingSample(
            sample["name"],
            ModelInputs(volume, tokens, context),
            sample["truth"],
            sample.get("metadata", ""),
        )
        for sample, volume, tokens, context in zip(samples, volumes, features, wide, strict=True)
    ]


class OpenSample:
    """A training sample opened: its inputs, and its truth on the local grid.

    Parameters
    ----------
    sample : TrainingSample
        Where everything is.
    recipe : Recipe
        The model's facts about its input.
    objective : type of Objective
        What models of this kind learn: it reads the truth.

    Raises
    ------
    SourceError
        If the truth cannot be read, or is of another shape or place than the volume.

    Attributes
    ----------
    truth : TrainingTruth
        As the objective reads it.
    """

    def __init__(self, sample: TrainingSample, recipe: Recipe, objective: type[Objective]) -> None:
        self.name = sample.name
        self.inputs = SampleInputs(sample.inputs, recipe)
        like = self.inputs.volume.attributes.get("source")
        source = _truth_source(sample, recipe, like)
        self.truth = objective.open_truth(source, self.inputs, recipe)

    def window(self, box: Box, number: int) -> TrainingWindow:
        """Return a window, mirrored where it reaches outside of the volume."""
        region = self.inputs.read(box)
        return TrainingWindow(box, region, self.truth.target(box, region), number)

    def warped_window(self, box: Box, number: int, places: NDArray[np.float64]) -> TrainingWindow:
        """Return a window that is taken from other places, (z, y, x, 3), inside the volume."""
        region = self.inputs.read(box_around(places))
        return TrainingWindow(box, region, self.truth.warped_target(places), number, places)


def _truth_source(
    sample: TrainingSample, recipe: Recipe, like: Mapping[str, Any] | None = None
) -> Source:
    """Return the truth of a sample; images with bands lie on the model's own pixels."""
    if not recipe.bands:
        found = open_truth(sample.truth, metadata=sample.metadata, folder=sample.folder, like=like)
        assert found is not None  # noqa: S101  (a sample to learn from has a truth)
        return found
    return open_source(
        sample.truth,
        metadata=parse_metadata(sample.metadata, folder=sample.folder),
        finer_than=recipe.spacing,
        unit=recipe.unit,
        bands=recipe.output_bands,
        truth=True,
    )
