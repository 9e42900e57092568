"""What training asks of the objective of a kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.storage.store import Stored
from parafovea.training.samples import TrainingWindow

Scores = dict[str, float | None]


class Objective(Protocol):
    """What a kind of model learns.

    Attributes
    ----------
    loss_name, score_name : str
        For people.
    score : str
        The column of the history that chooses the best checkpoint, the higher the better.
    """

    loss_name: str
    score_name: str
    score: str

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
