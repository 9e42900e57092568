"""A trained network rewritten for speed: the same function with fewer operations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from parafovea.models.fusion import AttentionFusion
from parafovea.models.joining import ConcatenatedConvolution, JoinedConvolution
from parafovea.models.network import LEVELS, FusedUNet
from parafovea.models.sampling import Pointwise


class PreparedUNet(nn.Module):
    """A FusedUNet for inference only: results agree with the original's to rounding.

    In evaluation a batch normalization is a fixed scale and shift of each channel, so it becomes
    part of the convolution before it. All that context passes before the first activation of a
    level's fusion is pointwise and linear, so it becomes one small matrix (`guides`) that is
    applied to the context's tokens; only its few outputs are interpolated, at the level's own
    resolution. Averaging and linear interpolation commute with it. The first convolution of each
    decoder level takes the coarser level as it is (`models.joining`).

    Parameters
    ----------
    network : FusedUNet
        Stays as it is.
    batch_statistics : bool
        Normalize by the mean and deviation of the batch at hand, as in training, instead of those
        that training left. Dropout stays off all the same.
    plain : bool
        Leave that last step out: only operations that compilers and other runtimes know.

    Attributes
    ----------
    guides : tuple of Pointwise
        From context features to what each level's fusion takes; empty without context.
    """

    @torch.no_grad()
    def __init__(
        self, network: FusedUNet, *, batch_statistics: bool = False, plain: bool = False
    ) -> None:
        super().__init__()
        source = copy.deepcopy(network).eval()
        for block in source.modules():
            if batch_statistics:
                _forget_statistics(block)
            elif isinstance(block, nn.Sequential):
                _fold_normalizations(block)
        self.dimensions = source.dimensions
        self.guides = _guides(source)
        levels = range(1, LEVELS + 1)
        self.encoder = nn.ModuleList(getattr(source, f"enc{level}") for level in levels)
        self.bottleneck = source.bottleneck
        self.fusions = nn.ModuleList(
            getattr(source, f"context_fusion{level}") for level in levels if self.guides
        )
        decoder = [getattr(source, f"dec{level}") for level in levels]
        widths = [block[0].in_channels - block[0].out_channels for block in decoder]
        self.join = nn.ModuleList(
            ConcatenatedConvolution(block[0]) if plain else JoinedConvolution(block[0], below)
            for block, below in zip(decoder, widths, strict=True)
        )
        self.decoder = nn.ModuleList(block[1:] for block in decoder)
        self.final_conv = source.final_conv
        self.films = nn.ModuleList(
            getattr(source, f"film{level}") for level in (*levels, LEVELS + 1) if source.conditions
        )

    def forward(
        self,
        features: Tensor,
        guides: Sequence[Tensor] | None = None,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """Return class scores for projected features and each level's own context.

        Parameters
        ----------
        features : Tensor
            (N, base_channels, ...) at full resolution, past the network's `input_conv`.
        guides : sequence of Tensor, optional
            What `guides` make of the context, at the resolutions of levels 1 to 4.
        conditions : Tensor, optional
            (N, channel), of a network that takes them.

        Returns
        -------
        Tensor
            (N, classes, ...), logits.
        """
        skips = []
        x = features
        for level, encode in enumerate(self.encoder):
            x = self._modulated(encode(x), level, conditions)
            skips.append(x)
            x = F.max_pool3d(x, 2) if self.dimensions == 3 else F.max_pool2d(x, 2)
        x = self._modulated(self.bottleneck(x), LEVELS, conditions)
        for level in reversed(range(LEVELS)):
            skip = skips[level]
            if guides is not None:
                skip = self.fusions[level](skip, guides[level])
            x = self.decoder[level](self.join[level](x, skip))
        return cast(Tensor, self.final_conv(x))

    def _modulated(self, x: Tensor, level: int, conditions: Tensor | None) -> Tensor:
        return x if conditions is None else cast(Tensor, self.films[level](x, conditions))


def _guides(network: FusedUNet) -> tuple[Pointwise, ...]:
    """Return each level's context path as one matrix, and take it out of the network."""
    if network.fusion == "none":
        return ()
    entry = Pointwise.of(network.context_input_conv)
    guides = []
    for level in range(1, LEVELS + 1):
        guide = Pointwise.of(getattr(network, f"context_proj{level}")).after(entry)
        fusion = getattr(network, f"context_fusion{level}")
        if isinstance(fusion, AttentionFusion):
            guide = Pointwise.of(fusion.context_proj[0]).after(guide)
            fusion.context_proj[0] = nn.Identity()
        guides.append(guide)
    return tuple(guides)


def _forget_statistics(layer: nn.Module) -> None:
    """Let a normalization have no statistics of its own: torch then takes the batch's."""
    if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None


def _fold_normalizations(block: nn.Sequential) -> None:
    for index in range(len(block) - 1):
        first, second = block[index], block[index + 1]
        if isinstance(second, nn.BatchNorm2d | nn.BatchNorm3d):
            block[index] = fuse_conv_bn_eval(cast(nn.Conv3d, first), second)
            block[index + 1] = nn.Identity()
