"""Training objective of segmentations: mutually exclusive classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parafovea.formats import Source
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.quality.segmentation.comparison import prediction_confusion
from parafovea.quality.segmentation.overlap import confusion_matrix, overlap_metrics
from parafovea.quality.truth_on_grid import IGNORED
from parafovea.settings.recipe import ModelSpec, Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.storage.store import Stored
from parafovea.training.class_truth import ClassTruth
from parafovea.training.losses import SegmentationLoss
from parafovea.training.objectives.objective import Scores
from parafovea.training.training_truth import TrainingWindow


class SegmentationObjective:
    """Dice plus cross-entropy, with checkpoints selected by the mean intersection over union.

    Parameters
    ----------
    spec : ModelSpec
        Description of the model to train.
    validation : mapping of str to ClassTruth
        Truths of the validation samples by name.
    settings : TrainingSettings, optional
        Settings of the training; without them, the objective is for `volume_scores`.
    """

    loss_name: ClassVar[str] = "Dice + cross-entropy"
    score_name: ClassVar[str] = "IoU"
    score: ClassVar[str] = "validation_iou"

    unused_settings: ClassVar[frozenset[str]] = frozenset({"body"})

    def __init__(
        self,
        spec: ModelSpec,
        validation: Mapping[str, ClassTruth],
        settings: TrainingSettings | None = None,
    ) -> None:
        self._spec = spec
        self._truths = list(validation.values())
        self._loss = SegmentationLoss(batch_dice=settings is not None and settings.batch_dice)
        self._confusion = self._none()

    def _none(self) -> NDArray[np.int64]:
        return np.zeros((len(self._spec.classes),) * 2, dtype=np.int64)

    @staticmethod
    def open_truth(source: Source, inputs: SampleInputs, recipe: Recipe) -> ClassTruth:
        """Return the truth of a sample."""
        return ClassTruth(source, inputs, recipe)

    def start(self, network: FusedUNet) -> None:
        """Leave the network unchanged."""

    def target(self, window: TrainingWindow) -> Tensor:
        """Return class indices, (1, z, y, x) int64."""
        return torch.from_numpy(window.target.astype(np.int64))[None]

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch: see `SegmentationLoss`."""
        return cast(Tensor, self._loss(logits, targets))

    def observe(self, windows: Sequence[TrainingWindow], logits: Tensor) -> None:
        """Accumulate the confusion matrix of a batch."""
        found = logits.argmax(dim=1).cpu().numpy().astype(np.uint8)
        for classes, window in zip(found, windows, strict=True):
            truth = window.target.reshape(classes.shape)
            known = truth != IGNORED
            self._confusion += confusion_matrix(
                truth[known], classes[known], len(self._spec.classes)
            )

    def scores(self) -> dict[str, float]:
        """Return validation_iou, the mean, and iou.CLASS."""
        found = overlap_metrics(self._confusion, self._spec.classes)
        iou = {name: float(found["iou", name] or 0.0) for name in self._spec.objects}
        self._confusion = self._none()
        mean = {self.score: float(np.mean(list(iou.values())))}
        return mean | {f"iou.{name}": value for name, value in iou.items()}

    def volume_scores(self, predictions: Sequence[Stored]) -> Scores:
        """Return all overlap metrics of all classes."""
        confusion = self._none()
        for stored, truth in zip(predictions, self._truths, strict=True):
            confusion += prediction_confusion(stored, truth.sampled, len(self._spec.classes))
        found = overlap_metrics(confusion, self._spec.classes)
        return {".".join(path): value for path, value in found.items()}
