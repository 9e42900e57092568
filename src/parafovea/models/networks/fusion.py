"""How context guides the skip connections of a FusedUNet."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from parafovea.models.networks.layers import batch_norm, conv

Fusion = Literal["attention", "concat", "none"]


class AttentionFusion(nn.Module):
    """Context says where to strengthen the local features; they are never replaced.

    ``local + raw_proj(local) * context_proj(context)``, with attention weights in 0 to 1 from a
    bottleneck of a quarter of the channels. The form of the DINOv3UNet3D family
    (davidackerman/dinov3_playground), whose layer names are kept.

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
        """Return the guided local features; both inputs are (N, channels, ...), as the output."""
        return torch.addcmul(local, self.raw_proj(local), self.context_proj(context))


class ConcatFusion(nn.Module):
    """Context and local features side by side, mixed by one pointwise convolution.

    The plain alternative that attention has to beat.

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
        """Return the mixed features; both inputs are (N, channels, ...), as the output."""
        return cast(Tensor, self.mix(torch.cat([local, context], dim=1)))


def fusion_block(fusion: Fusion, channels: int, dimensions: int) -> nn.Module:
    """Return the fusion of this name for features of `channels` channels."""
    block = AttentionFusion if fusion == "attention" else ConcatFusion
    return block(channels, dimensions)
