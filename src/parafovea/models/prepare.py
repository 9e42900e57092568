"""A trained network rewritten for speed: the same function with fewer operations."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from parafovea.models.fusion import AttentionFusion
from parafovea.models.network import LEVELS, FusedUNet
from parafovea.models.sampling import Pointwise


@dataclass(frozen=True)
class Prepared:
    """A network for inference, and what its context passes on the way to each level.

    Parameters
    ----------
    network : FusedUNet
        Takes projected features and guides (`forward_guided`), nothing else.
    guides : tuple of Pointwise
        From context features to what each level's fusion takes; empty without context.
    """

    network: FusedUNet
    guides: tuple[Pointwise, ...]


@torch.no_grad()
def prepare(network: FusedUNet) -> Prepared:
    """Return a copy of a network that computes the same with fewer operations.

    In evaluation a batch normalization is a fixed scale and shift of each channel, so it becomes
    part of the convolution before it. All that context passes before the first activation of a
    level's fusion is pointwise and linear, so it becomes one small matrix that is applied to the
    context's tokens; only its few outputs are interpolated, at the level's own resolution.
    Averaging and linear interpolation commute with it. Results agree to rounding.

    Parameters
    ----------
    network : FusedUNet
        In evaluation mode; stays as it is.

    Returns
    -------
    Prepared
        For inference only.
    """
    result = copy.deepcopy(network).eval()
    for block in result.modules():
        if isinstance(block, nn.Sequential):
            _fold_normalizations(block)
    if result.fusion == "none":
        return Prepared(result, ())
    entry = Pointwise.of(result.context_input_conv)
    guides = []
    for level in range(1, LEVELS + 1):
        guide = Pointwise.of(getattr(result, f"context_proj{level}")).after(entry)
        fusion = getattr(result, f"context_fusion{level}")
        if isinstance(fusion, AttentionFusion):
            guide = Pointwise.of(fusion.context_proj[0]).after(guide)
            fusion.context_proj[0] = nn.Identity()
        guides.append(guide)
    return Prepared(result, tuple(guides))


def _fold_normalizations(block: nn.Sequential) -> None:
    for index in range(len(block) - 1):
        first, second = block[index], block[index + 1]
        if isinstance(second, nn.BatchNorm2d | nn.BatchNorm3d):
            block[index] = fuse_conv_bn_eval(cast(nn.Conv3d, first), second)
            block[index + 1] = nn.Identity()
