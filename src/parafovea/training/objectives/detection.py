"""Training objective of detections: heatmaps of findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parafovea.errors import SourceError
from parafovea.formats import Source
from parafovea.geometry.grid import Box
from parafovea.inference.array_inputs import ArrayOnGrid
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.models.activation import activated
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.postprocess.detection.candidates import find_candidates
from parafovea.quality.detections.detector_score import evaluate_detections
from parafovea.quality.detections.tables import COORDINATES
from parafovea.settings.postprocess import PeakSettings
from parafovea.settings.recipe import ModelSpec, Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.storage.store import Stored
from parafovea.training.heatmap_truth import FULL, HeatmapTruth
from parafovea.training.losses import HeatmapLoss
from parafovea.training.objectives.objective import Scores
from parafovea.training.training_truth import TrainingWindow

#: Minimum height of a peak in validation.
LOWEST_PEAK = 0.1

#: Minimum distance of two peaks in validation, in units of the longest side of a voxel.
APART = 3.0

#: Initial probability of an untrained network.
PRIOR = 0.01


class DetectionObjective:
    """Heatmaps, with checkpoints selected by sensitivity and overlap.

    The score is the mean over all classes of LUNA16's CPM (mean sensitivity at 1/8 to 8 false
    positives per scan) and of the soft Dice of the heatmap, 2 Σ p y / (Σ p² + Σ y²): with few
    findings, the CPM has few levels, and the Dice distinguishes results of equal CPM.

    Parameters
    ----------
    spec : ModelSpec
        Description of the model to train.
    validation : mapping of str to HeatmapTruth
        Truths of the validation samples by name; their heatmaps are held in memory.
    settings : TrainingSettings, optional
        Settings of the training; without them, the objective is for `volume_scores`.

    Raises
    ------
    SourceError
        If one of the classes is in none of the truths.
    """

    loss_name: ClassVar[str] = "quality focal + Dice"
    score_name: ClassVar[str] = "score"
    score: ClassVar[str] = "validation_score"

    unused_settings: ClassVar[frozenset[str]] = frozenset({"batch_dice"})

    def __init__(
        self,
        spec: ModelSpec,
        validation: Mapping[str, HeatmapTruth],
        settings: TrainingSettings | None = None,
    ) -> None:
        self._spec = spec
        self._truths = list(validation.values())
        self._loss: nn.Module = HeatmapLoss()
        self._heat: dict[int, NDArray[np.float16]] = {}
        for index, name in enumerate(spec.classes):
            if validation and not any(len(truth.findings[index]) for truth in self._truths):
                names = ", ".join(validation)
                raise SourceError(
                    f"no voxel of class {index + 1} ({name}) in the truth of {names}: validate on "
                    "samples with every class, or remove the class from the recipe"
                )

    @staticmethod
    def open_truth(source: Source, inputs: SampleInputs, recipe: Recipe) -> HeatmapTruth:
        """Return the truth of a sample."""
        return HeatmapTruth(source, inputs, recipe)

    def start(self, network: FusedUNet) -> None:
        """Initialize the network to heatmaps near `PRIOR` everywhere."""
        with torch.no_grad():
            bias = cast(Tensor, network.final_conv.bias)
            bias.fill_(math.log(PRIOR / (1 - PRIOR)))

    def target(self, window: TrainingWindow) -> Tensor:
        """Return heatmaps, (class, z, y, x) float32."""
        return torch.from_numpy(window.target.astype(np.float32) / FULL)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return cast(Tensor, self._loss(logits, targets))

    def observe(self, windows: Sequence[TrainingWindow], logits: Tensor) -> None:
        """Write the heatmaps of a batch into those of their volumes; the last one wins."""
        found = activated(logits, self._spec.activation).half().cpu().numpy()
        for values, window in zip(found, windows, strict=True):
            heat = self._heat_of(window.sample)
            inside = window.box.intersection(Box.whole(heat.shape[1:]))
            values = values.reshape(len(values), *window.box.shape)
            own = values[(slice(None), *inside.relative_to(window.box.start).slices)]
            heat[(slice(None), *inside.slices)] = own

    def _heat_of(self, sample: int) -> NDArray[np.float16]:
        if sample not in self._heat:
            shape = self._truths[sample].grid.shape
            self._heat[sample] = np.zeros((len(self._spec.classes), *shape), np.float16)
        return self._heat[sample]

    def scores(self) -> dict[str, float]:
        """Return validation_score, cpm.CLASS and dice.CLASS."""
        heat = [self._heat_of(number) for number in range(len(self._truths))]
        self._heat = {}
        found: dict[str, float] = {}
        for index, name in enumerate(self._spec.classes):
            maps = [values[index].astype(np.float32) for values in heat]
            found[f"cpm.{name}"] = self._cpm(maps, index)
            found[f"dice.{name}"] = self._dice(maps, index)
        return {self.score: float(np.mean(list(found.values()))), **found}

    def volume_scores(self, predictions: Sequence[Stored]) -> Scores:
        """Return validation_score, cpm.CLASS and dice.CLASS of blended predictions."""
        for number, stored in enumerate(predictions):
            self._heat[number] = np.asarray(stored.read(), np.float16)
        return dict(self.scores())

    def _dice(self, maps: Sequence[NDArray[np.float32]], index: int) -> float:
        common = total = 0.0
        for heat, known in zip(maps, self._truths, strict=True):
            truth = known.heatmaps[index].astype(np.float32) / FULL
            common += 2 * float((heat * truth).sum(dtype=np.float64))
            total += float((heat**2 + truth**2).sum(dtype=np.float64))
        return common / total

    def _cpm(self, maps: Sequence[NDArray[np.float32]], index: int) -> float:
        series = [str(number) for number in range(len(maps))]
        marks: list[tuple[str | float, ...]] = []
        truths: list[tuple[str | float, ...]] = []
        for name, heat, truth in zip(series, maps, self._truths, strict=True):
            grid = truth.grid
            peaks = PeakSettings(threshold=LOWEST_PEAK, min_distance=APART * max(grid.spacing))
            for each in find_candidates(ArrayOnGrid(heat, grid).read, grid, peaks):
                marks.append((name, *grid.world(each.centre)[::-1], each.confidence))
            findings = truth.findings[index]
            for centre, radius in zip(findings.centre.tolist(), findings.radius, strict=True):
                truths.append((name, *centre[::-1], 2 * float(radius)))
        columns = ["seriesuid", *COORDINATES]
        found = evaluate_detections(
            pd.DataFrame(marks, columns=[*columns, "probability"]),
            pd.DataFrame(truths, columns=[*columns, "diameter_mm"]),
            series=series,
            bootstrap=0,
        )
        return found.score
