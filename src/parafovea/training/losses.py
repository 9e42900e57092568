"""Loss functions for classes, for sparse heatmaps and for reflectances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from parafovea.quality.truth_on_grid import IGNORED

#: Lower bound of the targets' share of a window's voxels, so that windows without targets have
#: neither no weight nor all of it.
EXPECTED = 2e-4

#: Voxels added to numerator and denominator of the Dice: windows without targets have a loss near 0
#: once the heatmap is low, and small targets still contribute.
SMOOTHED = 1.0

#: Weight of the NDVI error, which is about ten times the error of reflectances.
INDEX = 0.1

#: Reflectance that bounds the slope of the NDVI in dark pixels.
DARK = 0.05


#: Logit of a certain class: a softmax of it and its negative is 1 and 0 in 32 bits.
CERTAIN = 50.0


class SegmentationLoss(nn.Module):
    """Dice plus cross-entropy of mutually exclusive classes, the background left out of the Dice.

    Unlabelled voxels (`IGNORED`) add nothing: they count as background that was found for certain.

    Parameters
    ----------
    batch_dice : bool
        Whether a class has one Dice over all windows, or the mean of one for each window.
    """

    def __init__(self, *, batch_dice: bool = False) -> None:
        super().__init__()
        self.dice_and_entropy = DiceCELoss(
            include_background=False, to_onehot_y=True, softmax=True, batch=batch_dice
        )

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        logits : (window, class, z, y, x) Tensor
            Scores of the network.
        targets : (window, 1, z, y, x) Tensor
            Class indices, int64.
        """
        ignored = targets == IGNORED
        if ignored.any():
            certain = torch.full_like(logits, -CERTAIN)
            certain[:, 0] = CERTAIN
            logits = torch.where(ignored, certain, logits)
            targets = torch.where(ignored, 0, targets)
        return cast(Tensor, self.dice_and_entropy(logits, targets))


class HeatmapLoss(nn.Module):
    """Quality focal loss plus soft Dice, both minimal if the heatmap equals the target.

    Quality focal loss: |y - p|² times binary cross-entropy, divided by the sum of the targets (Li
    et al., Generalized Focal Loss, NeurIPS 2020, with β = 2), which is designed for soft targets
    and reduces the weight of correct voxels. Both it and the squared Dice are computed per window,
    so that a small finding has the same weight as a large one in another window.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dice = DiceLoss(
            sigmoid=True, squared_pred=True, smooth_nr=SMOOTHED, smooth_dr=SMOOTHED
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        logits : Tensor
            (N, class, [z,] y, x) float32.
        target : Tensor
            Target of the same shape, in [0, 1].
        """
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        focal = ((target - logits.sigmoid()) ** 2 * entropy).flatten(1).sum(dim=1)
        mass = target.flatten(1).sum(dim=1).clamp(min=EXPECTED * target[0].numel())
        return (focal / mass).mean() + cast(Tensor, self.dice(logits, target))


class RefinementLoss(nn.Module):
    """Absolute error of reflectances, of their differences between neighbours, and of the NDVI.

    The terms preserve the level of every band, its edges, and the ratio of red and near infrared,
    which is sensitive to small errors in dark pixels.

    Parameters
    ----------
    bands : sequence of str
        Names of the channels; the NDVI is included if B04 and B08 are among them.
    """

    def __init__(self, bands: Sequence[str]) -> None:
        super().__init__()
        pair = [list(bands).index(name) for name in ("B04", "B08") if name in bands]
        self.red_and_infrared = pair if len(pair) == 2 else None

    def forward(self, found: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        found, target : Tensor
            (N, band, [z,] y, x) float32, reflectances.
        """
        loss = F.l1_loss(found, target)
        for axis in (-2, -1):
            loss = loss + F.l1_loss(found.diff(dim=axis), target.diff(dim=axis))
        if self.red_and_infrared is not None:
            loss = loss + INDEX * F.l1_loss(self._index(found), self._index(target))
        return loss

    def _index(self, values: Tensor) -> Tensor:
        red, infrared = values[:, self.red_and_infrared].clamp(min=0).unbind(dim=1)
        return (infrared - red) / (infrared + red + DARK)


#: Weights of the logarithm of a window's error, and of the part by which it exceeds the input's.
RELATIVE, HARM = 0.01, 0.03

#: Margin by which an error, as a logarithm of its square, has to lie below the input's.
MARGIN = 0.1

#: Squared error below which no window counts as worse.
NEGLIGIBLE = 1e-6


def harm(found: Tensor, base: Tensor, target: Tensor) -> Tensor:
    """Return the loss of windows by their own error, in particular of those that became worse.

    Parameters
    ----------
    found, base, target : Tensor
        (N, band, [z,] y, x) float32: refined bands, those of the input, and the truth.
    """
    after = (found - target).square().flatten(1).mean(dim=1) + NEGLIGIBLE
    before = (base - target).square().flatten(1).mean(dim=1) + NEGLIGIBLE
    worse = torch.relu((after / before).log() + MARGIN)
    return RELATIVE * after.log().mean() + HARM * worse.mean()


def surprise(wrong: Tensor, expected: Tensor) -> Tensor:
    """Return the negative log likelihood of errors, normal with the expected deviation.

    Parameters
    ----------
    wrong, expected : Tensor
        (N, band, y, x) float32, errors and the deviations that were expected of them; positive.
    """
    return (0.5 * (wrong / expected).square() + expected.log()).mean()
