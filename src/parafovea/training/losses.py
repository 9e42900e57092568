"""Losses: of heatmaps, in which one voxel in ten thousand may matter, and of reflectances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

#: Share of the voxels that hills are counted to fill at least, so that batches without any weigh
#: neither nothing nor everything.
EXPECTED = 1e-3

#: Voxels that are added to both sides of the Dice ratio: windows without hills have a loss near 0
#: once the heatmap is quiet, and a hill of few voxels still counts.
SMOOTHED = 1.0

#: Weight of the NDVI's error, which is about ten times as large as that of reflectances.
INDEX = 0.1

#: Reflectance that keeps the slope of the NDVI bounded where red and near infrared are dark.
DARK = 0.05


class HeatmapLoss(nn.Module):
    """Quality focal loss plus soft Dice; both are least where the heatmap is the target.

    Quality focal loss: |y - p|² times binary cross-entropy, over the mass of the targets (Li et
    al., Generalized Focal Loss, NeurIPS 2020, with their β = 2; soft targets are its purpose).
    Voxels that are right already do not drown the few that are not. Dice, with squares, is taken
    for each window by itself, so that a small finding in one counts as much as a large one in
    another.
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
            Of the same shape, in [0, 1].
        """
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        focal = ((target - logits.sigmoid()) ** 2 * entropy).sum()
        mass = target.sum().clamp(min=EXPECTED * target.numel())
        return focal / mass + cast(Tensor, self.dice(logits, target))


class RefinementLoss(nn.Module):
    """Absolute error of reflectances, of their differences between neighbours, and of the NDVI.

    The first keeps the level of every band, the second its edges, the third the ratio of red and
    near infrared, which a small error in dark pixels changes much.

    Parameters
    ----------
    bands : sequence of str
        Names of the channels; the NDVI counts where B04 and B08 are among them.
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
