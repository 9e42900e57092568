"""The loss of heatmaps, in which one voxel in ten thousand may matter."""

from __future__ import annotations

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
