"""Training objective of refinements: target bands of an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from parafovea.errors import TrainingError
from parafovea.formats import Source
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.models.activation import activated
from parafovea.models.correction import corrections, place_mean
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.quality.tiles.image_metrics import psnr_of, vegetation_index
from parafovea.settings.recipe import ModelSpec, Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.storage.store import Stored
from parafovea.training.band_truth import BandTruth
from parafovea.training.losses import RefinementLoss, harm, surprise
from parafovea.training.objectives.objective import Scores
from parafovea.training.training_truth import TrainingWindow

#: Bands of the NDVI: red and near infrared.
VEGETATION = ("B04", "B08")

#: Weight of the expected errors, which must not rule over the bands.
DOUBTED = 0.005

#: Rows of planes compared at once.
SLAB = 16


class RefinementObjective:
    """Reflectances, their edges and the NDVI, with checkpoints selected by the PSNR.

    The PSNR is computed over all pixels of all bands, 10 log10(1 / MSE), since reflectances lie in
    [0, 1].

    Parameters
    ----------
    spec : ModelSpec
        Description of the model to train.
    validation : mapping of str to BandTruth
        Truths of the validation samples by name.
    settings : TrainingSettings, optional
        Settings of the training; without them, the objective is for `volume_scores`.
    """

    loss_name: ClassVar[str] = "L1 + edges + NDVI"
    score_name: ClassVar[str] = "PSNR [dB]"
    score: ClassVar[str] = "validation_psnr"

    unused_settings: ClassVar[frozenset[str]] = frozenset({"body", "batch_dice"})

    def __init__(
        self,
        spec: ModelSpec,
        validation: Mapping[str, BandTruth],
        settings: TrainingSettings | None = None,
    ) -> None:
        self._spec = spec
        self._truths = list(validation.values())
        self._loss: nn.Module = RefinementLoss(spec.classes)
        self._bands = len(spec.classes)
        self._squares: list[tuple[float, float, int]] = []

    @staticmethod
    def open_truth(source: Source, inputs: SampleInputs, recipe: Recipe) -> BandTruth:
        """Return the truth of a sample."""
        return BandTruth(source, inputs, recipe)

    def start(self, network: FusedUNet) -> None:
        """Initialize a residual to 0."""
        if self._spec.activation == "residual":
            with torch.no_grad():
                cast(Tensor, network.final_conv.weight).zero_()
                cast(Tensor, network.final_conv.bias).zero_()

    def target(self, window: TrainingWindow) -> Tensor:
        """Return the target bands, for a residual followed by the input bands, (band, z, y, x)."""
        return torch.from_numpy(np.asarray(window.target, np.float32))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch; values are not clipped to [0, 1], to keep gradients.

        A pixel whose truth is unknown counts as right.
        """
        wanted, base = self._parts(targets)
        if base is not None and self._spec.corrects:
            return self._loss_of_correction(logits, base, wanted)
        found = logits.sigmoid() if base is None else base + logits
        known, fixed = wanted.isfinite(), found.detach()
        wanted, found = torch.where(known, wanted, fixed), torch.where(known, found, fixed)
        return cast(Tensor, self._loss(found, wanted))

    def _loss_of_correction(self, scores: Tensor, base: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of bands that are filtered, with those of harm and of expected errors."""
        change, error = corrections(scores, base)
        found = base + change
        known, fixed = wanted.isfinite(), found.detach()
        wanted = torch.where(known, wanted, fixed)
        found = torch.where(known, found, fixed)
        base = torch.where(known, base, fixed)
        loss = cast(Tensor, self._loss(found, wanted))
        loss = loss + harm(found, base, wanted)
        return loss + DOUBTED * surprise(place_mean(fixed - wanted), error)

    def observe(self, windows: Sequence[TrainingWindow], logits: Tensor) -> None:
        """Accumulate the squared errors of a batch."""
        targets = torch.stack([self.target(window) for window in windows]).to(logits.device)
        wanted, base = self._parts(targets.reshape(len(windows), -1, *logits.shape[2:]))
        # as they are, so that the checkpoint does not depend on how much is held back
        found = activated(logits, self._spec.activation, base, caution=0.0)
        known = wanted.isfinite()
        before = math.nan if base is None else _squares(base - wanted, known)
        self._squares.append((before, _squares(found - wanted, known), int(known.sum())))

    def _parts(self, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        if self._spec.activation != "residual":
            return targets, None
        return targets[:, : self._bands], targets[:, self._bands :]

    def scores(self) -> dict[str, float]:
        """Return validation_psnr, and for a residual the PSNR of its input, psnr.input."""
        before, after, count = (sum(column) for column in zip(*self._squares, strict=True))
        self._squares = []
        if not count:
            raise TrainingError(
                "the truth of the validation samples is unknown in all pixels: correct it, or "
                "nodata= in the metadata column of the sample sheet"
            )
        found = {self.score: psnr(after / count)}
        return found if math.isnan(before) else {**found, "psnr.input": psnr(before / count)}

    def volume_scores(self, predictions: Sequence[Stored]) -> Scores:
        """Return the PSNR and RMSE over all blended predictions, and the RMSE by band.

        With B04 and B08 among the bands, also the RMSE of the NDVI, ndvi_rmse.
        """
        squares, counts = np.zeros(self._bands), np.zeros(self._bands)
        names = self._spec.classes
        pair = [names.index(each) for each in VEGETATION if each in names]
        index = np.zeros(2)
        for stored, truth in zip(predictions, self._truths, strict=True):
            for box in stored.grid.box.tiles((SLAB, *stored.grid.shape[1:])):
                image, known = stored.read(box).astype(np.float64), truth.read(box)
                wrong = image - known
                squares += np.nansum(wrong**2, axis=(1, 2, 3))
                counts += np.isfinite(wrong).sum(axis=(1, 2, 3))
                if len(pair) == len(VEGETATION):
                    off = vegetation_index(*image[pair]) - vegetation_index(*known[pair])
                    index += np.nansum(off**2), np.isfinite(off).sum()
        mse = float(squares.sum() / counts.sum())
        found: Scores = {"psnr": psnr(mse), "rmse": math.sqrt(mse)}
        if index[1]:
            found["ndvi_rmse"] = math.sqrt(index[0] / index[1])
        for name, root in zip(self._spec.classes, np.sqrt(squares / counts), strict=True):
            found[f"rmse.{name}"] = float(root)
        return found


def _squares(wrong: Tensor, known: Tensor) -> float:
    return float(wrong[known].double().square().sum())


def psnr(mse: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error in dB, for a range of 1."""
    return cast(float, psnr_of(max(math.sqrt(mse), 1e-10)))
