"""Interface of training objectives: targets, loss and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from parafovea.formats import Source
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.settings.recipe import ModelSpec, Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.storage.store import Stored
from parafovea.training.training_truth import TrainingTruth, TrainingWindow

Scores = dict[str, float | None]


class Objective(Protocol):
    """A training objective.

    Parameters
    ----------
    spec : ModelSpec
        Description of the model to train.
    validation : mapping of str to TrainingTruth
        Truths of the validation samples, from `open_truth`, by name.
    settings : TrainingSettings, optional
        Settings of the training; without them, the objective is for `volume_scores`.

    Attributes
    ----------
    loss_name, score_name : str
        Names for display.
    score : str
        Column of the history that selects the best checkpoint; higher is better.
    unused_settings : frozenset of str
        Training settings that do not apply to the objective.
    """

    loss_name: ClassVar[str]
    score_name: ClassVar[str]
    score: ClassVar[str]
    unused_settings: ClassVar[frozenset[str]]

    def __init__(
        self,
        spec: ModelSpec,
        validation: Mapping[str, Any],
        settings: TrainingSettings | None = None,
    ) -> None: ...

    @staticmethod
    def open_truth(source: Source, inputs: SampleInputs, recipe: Recipe) -> TrainingTruth:
        """Return the truth of a sample.

        Raises
        ------
        SourceError
            If the truth does not fit the sample.
        """

    def start(self, network: FusedUNet) -> None:
        """Initialize an untrained network."""

    def target(self, window: TrainingWindow) -> Tensor:
        """Return the target of a window, (channel, z, y, x)."""

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, (N, class, ...) and (N, channel, ...)."""

    def observe(self, windows: Sequence[TrainingWindow], logits: Tensor) -> None:
        """Accumulate a batch of validation windows."""

    def scores(self) -> dict[str, float]:
        """Return the scores of all windows since the last call, `score` first."""

    def volume_scores(self, predictions: Sequence[Stored]) -> Scores:
        """Return the scores of the predictions of all validation samples together."""
