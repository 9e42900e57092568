"""Fusion of context into the skip connections of a FusedUNet."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from parafovea.models.networks.layers import batch_norm, conv

Fusion = Literal["attention", "concat", "none"]


class AttentionFusion(nn.Module):
    """Attention of local features by context: context amplifies them, but never replaces them.

    ``local + raw_proj(local) * context_proj(context)``, with attention weights between 0 and 1 from
    a bottleneck of a quarter of the channels. Same form and layer names as in the DINOv3UNet3D
    family (davidackerman/dinov3_playground).

    Parameters
    ----------
    channels : int
        Channels of local and of context features.
    dimensions : {2, 3}
        Spatial dimensions.
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        squeezed = max(1, channels // 4)
        self.context_proj = nn.Sequential(
            conv(dimensions, channels, squeezed, 1),
            batch_norm(dimensions, squeezed),
            nn.ReLU(inplace=True),
            conv(dimensions, squeezed, channels, 1),
            nn.Sigmoid(),
        )
        self.raw_proj = conv(dimensions, channels, channels, 1)

    def forward(self, local: Tensor, context: Tensor) -> Tensor:
        """Return the local features after attention; inputs and output are (N, channels, ...)."""
        return torch.addcmul(local, self.raw_proj(local), self.context_proj(context))


class ConcatFusion(nn.Module):
    """Concatenation of context and local features, followed by a pointwise convolution.

    The baseline for attention.

    Parameters
    ----------
    channels : int
        Channels of local and of context features.
    dimensions : {2, 3}
        Spatial dimensions.
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.mix = conv(dimensions, 2 * channels, channels, 1)

    def forward(self, local: Tensor, context: Tensor) -> Tensor:
        """Return the mixed features; inputs and output are (N, channels, ...)."""
        return cast(Tensor, self.mix(torch.cat([local, context], dim=1)))


def fusion_block(fusion: Fusion, channels: int, dimensions: int) -> nn.Module:
    """Return the fusion block with this name for `channels` feature channels."""
    block = AttentionFusion if fusion == "attention" else ConcatFusion
    return block(channels, dimensions)
