"""Training samples: cached features with the truth on the local grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source, require_same_images
from parafovea.formats.source import Source
from parafovea.formats.truth import open_truth
from parafovea.geometry.grid import Box
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.settings.recipe import Recipe
from parafovea.training.augmentation import box_around
from parafovea.training.objectives.objective import Objective
from parafovea.training.training_truth import TrainingWindow


@dataclass(frozen=True)
class TrainingSample:
    """A training sample of the sheet.

    Parameters
    ----------
    name : str
        The sample's name.
    inputs : ModelInputs
        Its cached volume and features.
    truth : str
        Path of the truth: class indices on the source's grid, or target bands of a refinement.
    metadata : str
        The sheet's `metadata` of the sample.
    folder : Path
        Base folder of relative sidecar paths.
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
        `name`, `truth` and `metadata` of each sample.
    volumes, features : sequence of Path
        Volume and features of each sample.
    contexts : sequence of Path
        Context features of each sample; empty if the model uses no context.

    Raises
    ------
    ValueError
        If there is not one volume, one store of features and, if any, one store of context
        features per sample.
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
    """An opened training sample: its inputs, and its truth on the local grid.

    Parameters
    ----------
    sample : TrainingSample
        Paths of the sample.
    recipe : Recipe
        Recipe of the model.
    objective : type of Objective
        Objective, which reads the truth.

    Raises
    ------
    SourceError
        If the truth cannot be read, or its shape or position does not match the volume.

    Attributes
    ----------
    truth : TrainingTruth
        The truth as read by the objective.
    """

    def __init__(self, sample: TrainingSample, recipe: Recipe, objective: type[Objective]) -> None:
        self.name = sample.name
        self.inputs = SampleInputs(sample.inputs, recipe)
        like = self.inputs.volume.attributes.get("source")
        source = _truth_source(sample, recipe, like)
        require_same_images(source, like or {})
        self.truth = objective.open_truth(source, self.inputs, recipe)

    def window(self, box: Box, number: int) -> TrainingWindow:
        """Return a window, mirrored where it extends beyond the volume."""
        region = self.inputs.read(box)
        return TrainingWindow(box, region, self.truth.target(box, region), number)

    def warped_window(self, box: Box, number: int, places: NDArray[np.float64]) -> TrainingWindow:
        """Return a window sampled at positions (z, y, x, 3) inside the volume."""
        region = self.inputs.read(box_around(places))
        return TrainingWindow(box, region, self.truth.warped_target(places), number, places)


def _truth_source(
    sample: TrainingSample, recipe: Recipe, like: Mapping[str, Any] | None = None
) -> Source:
    """Open the truth of a sample; images with bands are opened on the model's pixels."""
    # tiles are the planes of their volume, whatever the unit of the model
    are_tiles = bool(recipe.bands) and "planes" in (like or {})
    if not (recipe.is_image or are_tiles):
        found = open_truth(sample.truth, metadata=sample.metadata, folder=sample.folder, like=like)
        assert found is not None  # noqa: S101  (a sample to learn from has a truth)
        return found
    said = parse_metadata(sample.metadata, folder=sample.folder)
    tiles = said.tiles.of_truth(recipe.output_bands, source=recipe.bands)
    return open_source(
        sample.truth,
        metadata=said.model_copy(update={"tiles": tiles}),
        finer_than=recipe.spacing,
        unit=recipe.unit,
        bands=recipe.output_bands,
        truth=True,
    )
