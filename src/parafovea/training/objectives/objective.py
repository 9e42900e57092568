"""What a network of each kind learns, and by what its checkpoints are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from parafovea.formats import Source
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.settings.recipe import ModelSpec, Recipe
from parafovea.storage.store import Stored
from parafovea.training.training_truth import TrainingTruth, TrainingWindow

Scores = dict[str, float | None]


class Objective(Protocol):
    """What a network of a kind learns.

    Parameters
    ----------
    spec : ModelSpec
        The model to be.
    validation : mapping of str to TrainingTruth
        Truths, as `open_truth` returns them, of the samples that choose the best checkpoint, by
        the sample's name.

    Attributes
    ----------
    loss_name, score_name : str
        For people.
    score : str
        The column of the history that chooses the best checkpoint, the higher the better.
    unused_settings : frozenset of str
        Settings of training that mean nothing to it.
    """

    loss_name: ClassVar[str]
    score_name: ClassVar[str]
    score: ClassVar[str]
    unused_settings: ClassVar[frozenset[str]]

    def __init__(self, spec: ModelSpec, validation: Mapping[str, Any]) -> None: ...

    @staticmethod
    def open_truth(source: Source, inputs: SampleInputs, recipe: Recipe) -> TrainingTruth:
        """Return the truth of a sample as this objective reads it.

        Raises
        ------
        SourceError
            If it does not fit the sample.
        """

    def start(self, network: FusedUNet) -> None:
        """Prepare an untrained network."""

    def target(self, window: TrainingWindow) -> Tensor:
        """Return what a window should become, (channel, z, y, x)."""

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, (N, class, ...) and (N, channel, ...)."""

    def observe(self, windows: Sequence[TrainingWindow], logits: Tensor) -> None:
        """Take a batch of validation windows in."""

    def scores(self) -> dict[str, float]:
        """Return the scores of all windows since the last call, `score` first."""

    def volume_scores(self, predictions: Sequence[Stored]) -> Scores:
        """Return the scores of the predictions of all validation samples together."""
