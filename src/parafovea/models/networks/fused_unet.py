"""The FusedUNet: a UNet of local features with context fused at the skip connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parafovea.models.conditioning import Modulation, condition_channels
from parafovea.models.networks.fusion import Fusion, fusion_block
from parafovea.models.networks.layers import batch_norm, conv
from parafovea.models.networks.layers import learned_upsampling as upsampling_layers
from parafovea.settings.networks import Condition
from parafovea.settings.recipe import ModelSpec

LEVELS = 4


def level_widths(base: int, maximum: int | None) -> list[int]:
    """Return the number of channels of the four encoder levels and the bottleneck.

    Parameters
    ----------
    base : int
        Channels at full resolution; they double at each level.
    maximum : int or None
        Upper limit of a level's channels.
    """
    limit = maximum or base * 2**LEVELS
    return [min(base * 2**level, max(base, limit)) for level in range(LEVELS + 1)]


def _block(dimensions: int, inputs: int, outputs: int, dropped: float) -> nn.Sequential:
    dropout = nn.Dropout3d if dimensions == 3 else nn.Dropout2d
    return nn.Sequential(
        conv(dimensions, inputs, outputs, 3),
        batch_norm(dimensions, outputs),
        nn.ReLU(inplace=True),
        conv(dimensions, outputs, outputs, 3),
        batch_norm(dimensions, outputs),
        nn.ReLU(inplace=True),
        dropout(dropped),
    )


def _keep_gradient_dense(x: Tensor) -> None:
    """Let the gradient of interpolated channels-last values be channels-last, too.

    Behind a concatenation it is a slice of channels, for which torch interpolates backwards in a
    slow, contiguous order; the values are the same.
    """
    channels_last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    if x.requires_grad and x.is_contiguous(memory_format=channels_last):
        x.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: gradient.contiguous(memory_format=channels_last)
        )


class FusedUNet(nn.Module):
    """A UNet over feature channels whose skip connections are fused with context features.

    Layers and their names follow the DINOv3UNet3D family, so that its checkpoints load unchanged
    (`input_conv`, optionally `learned_upsample`, `enc1..4`, `bottleneck`, `dec4..1`, `final_conv`,
    `context_input_conv`, `context_proj1..4`, `context_fusion1..4`). The encoder itself does not
    see context. In addition to that family, conditions modulate each encoder level and the
    bottleneck (`film1..5`), and the output where that is asked for (`film6`).

    Parameters
    ----------
    input_channels : int
        Channels of the local features.
    classes : int
        Channels of the output.
    base_channels : int
        Channels at full resolution.
    context_channels : int
        Channels of the context features; ignored with fusion "none".
    max_channels : int, optional
        Upper limit of a level's channels.
    fusion : {"attention", "concat", "none"}
        Fusion of context.
    dimensions : {2, 3}
        Spatial dimensions.
    learned_upsampling : {2, 4, 8}, optional
        Factor by which learned layers upsample both inputs before the first level.
    conditions : sequence of {"month", "biome"}
        Metadata that condition the network; 2 dimensions only.
    conditioned_output : bool
        Whether the conditions also scale and shift the output (`film6`).
    dropout : float
        Share of channels dropped in training; twice that at the bottleneck.
    """

    def __init__(
        self,
        input_channels: int,
        classes: int,
        *,
        base_channels: int = 16,
        context_channels: int = 0,
        max_channels: int | None = None,
        fusion: Fusion = "attention",
        dimensions: int = 3,
        learned_upsampling: int | None = None,
        conditions: Sequence[Condition] = (),
        conditioned_output: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.fusion: Fusion = fusion
        self.conditions = tuple(conditions)
        self.dimensions = dimensions
        widths = level_widths(base_channels, max_channels)
        self.input_conv = conv(dimensions, input_channels, base_channels, 1)
        self.learned_upsample = (
            None
            if learned_upsampling is None
            else upsampling_layers(learned_upsampling, base_channels, dimensions)
        )
        for level in range(LEVELS):
            name = f"enc{level + 1}"
            self.add_module(
                name, _block(dimensions, widths[max(0, level - 1)], widths[level], dropout)
            )
        self.bottleneck = _block(dimensions, widths[LEVELS - 1], widths[LEVELS], dropout)
        self.dropout = nn.Dropout3d(2 * dropout) if dimensions == 3 else nn.Dropout2d(2 * dropout)
        for level in reversed(range(LEVELS)):
            inputs = widths[level + 1] + widths[level]
            self.add_module(f"dec{level + 1}", _block(dimensions, inputs, widths[level], dropout))
        self.final_conv = conv(dimensions, base_channels, classes, 1)
        if fusion != "none":
            self.context_input_conv = conv(dimensions, context_channels, base_channels, 1)
            for level in range(LEVELS):
                projection = conv(dimensions, base_channels, widths[level], 1)
                self.add_module(f"context_proj{level + 1}", projection)
            for level in range(LEVELS):
                block = fusion_block(fusion, widths[level], dimensions)
                self.add_module(f"context_fusion{level + 1}", block)
        outputs = [classes] if conditioned_output else []
        for level, width in enumerate([*widths, *outputs] if conditions else ()):
            modulation = Modulation(condition_channels(self.conditions), width)
            self.add_module(f"film{level + 1}", modulation)

    @classmethod
    def from_spec(cls, spec: ModelSpec) -> FusedUNet:
        """Return an untrained network with the architecture in `spec`."""
        return cls(
            spec.input_channels,
            spec.scores,
            base_channels=spec.fused.base_channels,
            context_channels=spec.context_channels,
            max_channels=spec.fused.max_channels,
            fusion=spec.fused.fusion,
            dimensions=spec.network.dimensions,
            learned_upsampling=spec.fused.learned_upsampling,
            conditions=spec.fused.conditions,
            conditioned_output=spec.fused.correction == "filter",
            dropout=spec.fused.dropout,
        )

    def forward(
        self,
        features: Tensor,
        context: Tensor | None = None,
        *,
        conditions: Tensor | None = None,
        size: Sequence[int] | None = None,
    ) -> Tensor:
        """Return class scores for features at full resolution, or before learned upsampling.

        Parameters
        ----------
        features : Tensor
            (N, input_channels, z, y, x), or without z in 2 dimensions; sizes are multiples of 16.
        context : Tensor, optional
            (N, context_channels, ...) of the same size. Without it, the skip connections are not
            fused.
        conditions : Tensor, optional
            (N, channel) from `conditioning.encoded_conditions`, for a network that takes them.
        size : sequence of int, optional
            Voxels of the result along (z,) y, x, for a network with learned upsampling, whose
            output is interpolated to this size. By default, its factor times the size of the
            features. A multiple of 16.

        Returns
        -------
        Tensor
            (N, classes, ...), logits.
        """
        projected = None if context is None else self.context_input_conv(context)
        return self.forward_projected(
            self.input_conv(features), projected, conditions=conditions, size=size
        )

    def forward_projected(
        self,
        features: Tensor,
        context: Tensor | None = None,
        *,
        conditions: Tensor | None = None,
        size: Sequence[int] | None = None,
    ) -> Tensor:
        """Return class scores for outputs of the input convolutions.

        Input convolutions are pointwise, so they commute with linear interpolation: callers
        project at token resolution, then interpolate (`models.token_sampling`).

        Parameters
        ----------
        features, context : Tensor
            (N, base_channels, ...) at full resolution, or before learned upsampling.
        conditions : Tensor, optional
            See `forward`.
        size : sequence of int, optional
            See `forward`.

        Returns
        -------
        Tensor
            (N, classes, ...), logits.
        """
        guides = None if context is None else self._guides(self._upsampled(context, size))
        skips = []
        x = self._upsampled(features, size)
        for level in range(LEVELS):
            x = self._modulated(self._layer("enc", level)(x), level, conditions)
            skips.append(x)
            x = self._pool(x)
        x = self.dropout(self._modulated(self.bottleneck(x), LEVELS, conditions))
        for level in reversed(range(LEVELS)):
            skip = skips[level]
            if guides is not None:
                skip = self._layer("context_fusion", level)(skip, guides[level])
            mode = "trilinear" if self.dimensions == 3 else "bilinear"
            x = F.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
            _keep_gradient_dense(x)
            x = self._layer("dec", level)(torch.cat([x, skip], dim=1))
        scores = cast(Tensor, self.final_conv(x))
        return self._modulated(scores, LEVELS + 1, conditions) if self.output_film else scores

    @property
    def output_film(self) -> bool:
        """Whether the conditions modulate the output."""
        return hasattr(self, f"film{LEVELS + 2}")

    def _modulated(self, x: Tensor, level: int, conditions: Tensor | None) -> Tensor:
        """Return the values of a level, modulated if the network takes conditions."""
        if not self.conditions:
            return x
        if conditions is None:
            raise ValueError(
                f"this network takes the conditions {', '.join(self.conditions)}, but none were "
                "given: pass `conditions`"
            )
        return cast(Tensor, self._layer("film", level)(x, conditions))

    def _upsampled(self, x: Tensor, size: Sequence[int] | None) -> Tensor:
        """Apply learned upsampling, if there is any, to a projected input."""
        if self.learned_upsample is None:
            return x
        x = self.learned_upsample(x)
        if size is None or tuple(size) == tuple(x.shape[2:]):
            return x
        mode = "trilinear" if self.dimensions == 3 else "bilinear"
        return F.interpolate(x, size=tuple(size), mode=mode, align_corners=False)

    def _guides(self, context: Tensor) -> Sequence[Tensor]:
        """Return the context features of each level: pooled by 2, then projected to its width."""
        if self.fusion == "none":
            raise ValueError("this network has fusion none: do not pass `context`")
        pool = F.avg_pool3d if self.dimensions == 3 else F.avg_pool2d
        views = [context]
        while len(views) < LEVELS:
            # On the CPU, torch supports 3D average pooling in float32 and float64 only.
            views.append(pool(views[-1].float(), 2).to(context.dtype))
        return [self._layer("context_proj", level)(view) for level, view in enumerate(views)]

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool3d(x, 2) if self.dimensions == 3 else F.max_pool2d(x, 2)

    def _layer(self, name: str, level: int) -> nn.Module:
        return cast(nn.Module, getattr(self, f"{name}{level + 1}"))
