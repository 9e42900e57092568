"""Learning the bands that an image should have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from parafovea.formats import Source
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.models.activation import activated
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.quality.tiles.image_metrics import psnr_of
from parafovea.settings.recipe import ModelSpec, Recipe
from parafovea.storage.store import Stored
from parafovea.training.band_truth import BandTruth
from parafovea.training.losses import RefinementLoss
from parafovea.training.objectives.objective import Scores
from parafovea.training.training_truth import TrainingWindow

#: Rows of planes that are compared at once.
SLAB = 16


class RefinementObjective:
    """Reflectances, their edges and the NDVI; checkpoints are chosen by the PSNR.

    The PSNR is that of all pixels of all bands together, 10 log10(1 / MSE), since reflectances
    lie in [0, 1].

    Parameters
    ----------
    spec : ModelSpec
        The model to be.
    validation : mapping of str to BandTruth
        Truths of the samples that choose the best checkpoint, by the sample's name.
    """

    loss_name: ClassVar[str] = "L1 + edges + NDVI"
    score_name: ClassVar[str] = "PSNR [dB]"
    score: ClassVar[str] = "validation_psnr"

    unused_settings: ClassVar[frozenset[str]] = frozenset({"body"})

    def __init__(self, spec: ModelSpec, validation: Mapping[str, BandTruth]) -> None:
        self._spec = spec
        self._truths = list(validation.values())
        self._loss: nn.Module = RefinementLoss(spec.classes)
        self._bands = len(spec.classes)
        self._squares: list[tuple[float, float, int]] = []

    @staticmethod
    def open_truth(source: Source, inputs: SampleInputs, recipe: Recipe) -> BandTruth:
        """Return the truth of a sample as this objective reads it."""
        return BandTruth(source, inputs, recipe)

    def start(self, network: FusedUNet) -> None:
        """Let a residual begin as no change at all."""
        if self._spec.activation == "residual":
            with torch.no_grad():
                cast(Tensor, network.final_conv.weight).zero_()
                cast(Tensor, network.final_conv.bias).zero_()

    def target(self, window: TrainingWindow) -> Tensor:
        """Return the bands to reach, then, of a residual, those to change, (band, z, y, x)."""
        return torch.from_numpy(np.asarray(window.target, np.float32))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch; values beyond [0, 1] are not cut, so that they learn."""
        wanted, base = self._parts(targets)
        found = logits.sigmoid() if base is None else base + logits
        return cast(Tensor, self._loss(found, wanted))

    def observe(self, windows: Sequence[TrainingWindow], logits: Tensor) -> None:
        """Take the squared errors of a batch in."""
        targets = torch.stack([self.target(window) for window in windows]).to(logits.device)
        wanted, base = self._parts(targets.reshape(len(windows), -1, *logits.shape[2:]))
        found = activated(logits, self._spec.activation, base)
        before = math.nan if base is None else float((base - wanted).double().square().sum())
        after = float((found - wanted).double().square().sum())
        self._squares.append((before, after, wanted.numel()))

    def _parts(self, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        if self._spec.activation != "residual":
            return targets, None
        return targets[:, : self._bands], targets[:, self._bands :]

    def scores(self) -> dict[str, float]:
        """Return validation_psnr, and of a residual the PSNR of its input, psnr.input."""
        before, after, count = (sum(column) for column in zip(*self._squares, strict=True))
        self._squares = []
        found = {self.score: psnr(after / count)}
        return found if math.isnan(before) else {**found, "psnr.input": psnr(before / count)}

    def volume_scores(self, predictions: Sequence[Stored]) -> Scores:
        """Return the PSNR and RMSE of all blended predictions together, and the RMSE by band."""
        squares, count = np.zeros(self._bands), 0
        for stored, truth in zip(predictions, self._truths, strict=True):
            for box in stored.grid.box.tiles((SLAB, *stored.grid.shape[1:])):
                wrong = stored.read(box).astype(np.float64) - truth.read(box)
                squares += (wrong**2).sum(axis=(1, 2, 3))
                count += box.size
        mse = float(squares.sum() / (count * self._bands))
        found: Scores = {"psnr": psnr(mse), "rmse": math.sqrt(mse)}
        for name, root in zip(self._spec.classes, np.sqrt(squares / count), strict=True):
            found[f"rmse.{name}"] = float(root)
        return found


def psnr(mse: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error, in dB, of a range of 1."""
    return cast(float, psnr_of(max(math.sqrt(mse), 1e-10)))
