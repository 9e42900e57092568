"""Running average of a network's weights over the steps of its training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged_network(network: nn.Module, decay: float) -> AveragedModel:
    """Return the average of a network, to be updated after every step of its optimizer.

    The statistics of batch normalization are averaged like weights. The first update copies the
    network; the decay then rises from 0.1 to its limit, so that weights of the beginning are soon
    forgotten.

    Parameters
    ----------
    network : Module
        The network that is trained.
    decay : float
        Share of the average that remains at each step, at most.
    """

    def updated(averages: Iterable[Tensor], values: Iterable[Tensor], count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)

    averaged = AveragedModel(network, multi_avg_fn=torch.no_grad()(updated), use_buffers=True)
    return averaged.requires_grad_(False)
