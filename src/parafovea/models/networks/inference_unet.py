"""A trained FusedUNet rewritten for inference speed: the same function with fewer operations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from parafovea.models.networks.fused_unet import LEVELS, FusedUNet
from parafovea.models.networks.fusion import AttentionFusion
from parafovea.models.token_sampling import Pointwise

#: Offsets of the taps of a kernel of size 3.
TAPS = (-1, 0, 1)


class JoinedConvolution(nn.Module):
    """Convolution of an upsampled coarse map concatenated with a skip connection.

    ``conv(cat([interpolate(x, scale_factor=2), skip]))`` with linear interpolation, in fewer
    operations: convolutions add up over channels, so nothing is concatenated; and interpolation
    along one axis commutes with the kernel across the others, so along the first axis `x` is
    convolved at half resolution, and the results of the three planes of the kernel are
    interpolated, shifted and summed in one matrix multiplication.

    Parameters
    ----------
    layer : Conv2d or Conv3d
        Convolution with kernel 3, padding 1 and bias, whose weights are reused.
    below : int
        Channels of the coarse map, which come first.
    """

    def __init__(self, layer: nn.Conv2d | nn.Conv3d, below: int) -> None:
        super().__init__()
        self.dimensions = layer.weight.dim() - 2
        self.skip = nn.Parameter(layer.weight[:, below:])
        self.bias = layer.bias
        self.planes = nn.ParameterList(
            layer.weight[:, :below].narrow(2, tap + 1, 1) for tap in TAPS
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return the convolution.

        Parameters
        ----------
        x : Tensor
            (N, below, [z,] y, x), the coarse map.
        skip : Tensor
            (N, channel, ...) of twice the spatial size.

        Returns
        -------
        Tensor
            (N, output, ...) of the size of `skip`, channels last in memory.
        """
        convolve = F.conv3d if self.dimensions == 3 else F.conv2d
        others = range(1, self.dimensions)
        wide = doubled(x, others)
        padding = (0, *[1 for _ in others])
        parts = [convolve(wide, plane, padding=padding) for plane in self.planes]
        stacked = torch.cat([part.movedim(1, -1) for part in parts], dim=1)
        result = convolve(skip, self.skip, self.bias, padding=1).movedim(1, -1).contiguous()
        count, size = result.shape[:2]
        matrix = doubling_matrix(x.shape[2]).to(x.device, x.dtype)
        sums = result.view(count, size, -1)
        torch.baddbmm(sums, matrix.expand(count, -1, -1), stacked.flatten(2), out=sums)
        return result.movedim(-1, 1)


class ConcatenatedConvolution(nn.Module):
    """The function of `JoinedConvolution` as trained: interpolate, concatenate, convolve.

    Compilers and other runtimes have optimized kernels for these operations.

    Parameters
    ----------
    layer : Conv2d or Conv3d
        See `JoinedConvolution`.
    """

    def __init__(self, layer: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.layer = layer
        self.mode = "trilinear" if layer.weight.dim() == 5 else "bilinear"

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return the convolution; for shapes see `JoinedConvolution.forward`."""
        wide = F.interpolate(x, scale_factor=2, mode=self.mode, align_corners=False)
        return cast(Tensor, self.layer(torch.cat([wide, skip], dim=1)))


@lru_cache(maxsize=32)
def doubling_matrix(size: int) -> Tensor:
    """Return the matrix that upsamples an axis by 2, for each tap of a kernel of 3.

    Parameters
    ----------
    size : int
        Length of the axis.

    Returns
    -------
    Tensor
        (2 size, 3 size) float32. Block `t`, (2 size, size), interpolates the axis and shifts it by
        ``TAPS[t]``, with zeros beyond its ends: the padding of the convolution.
    """
    line = torch.eye(size)[None, None]
    rows = F.interpolate(line, size=(2 * size, size), mode="bilinear", align_corners=False)[0, 0]
    padded = F.pad(rows, (0, 0, 1, 1))
    return torch.cat([padded[1 + tap : 1 + tap + 2 * size] for tap in TAPS], dim=1)


def doubled(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Upsample `x` linearly by 2 along some axes.

    Equals `torch.nn.functional.interpolate` with ``scale_factor=2`` and ``align_corners=False``:
    new voxels lie a quarter of an old voxel off its centre, so each mixes two neighbours 3 : 1; the
    outermost ones repeat the border. Works on whole arrays, one axis after the other.

    Parameters
    ----------
    x : Tensor
        (N, channel, [z,] y, x), channels last in memory.
    axes : sequence of int
        Spatial axes, from 0.

    Returns
    -------
    Tensor
        Channels last in memory.
    """
    values = x.movedim(1, -1)
    for axis in reversed(axes):
        values = _doubled_axis(values, axis + 1)
    return values.movedim(-1, 1)


def _doubled_axis(values: Tensor, axis: int) -> Tensor:
    shape = list(values.shape)
    size = shape[axis]
    out = values.new_empty([*shape[:axis], size, 2, *shape[axis + 1 :]])
    even, odd = out.unbind(axis + 1)
    below, above = values.narrow(axis, 0, size - 1), values.narrow(axis, 1, size - 1)
    torch.lerp(above, below, 0.25, out=even.narrow(axis, 1, size - 1))
    torch.lerp(below, above, 0.25, out=odd.narrow(axis, 0, size - 1))
    even.narrow(axis, 0, 1).copy_(values.narrow(axis, 0, 1))
    odd.narrow(axis, size - 1, 1).copy_(values.narrow(axis, size - 1, 1))
    return out.flatten(axis, axis + 1)


class InferenceUNet(nn.Module):
    """A FusedUNet for inference only; results agree with the original's to rounding.

    In evaluation mode a batch normalization is a fixed scale and shift of each channel, so it is
    folded into the convolution before it. The path of context up to the first activation of a
    level's fusion is pointwise and linear, so it becomes one small matrix (`guides`) that is
    applied to the context's tokens; only its few outputs are interpolated, at the level's own
    resolution. Averaging and linear interpolation commute with it. The first convolution of each
    decoder level takes the coarser level without upsampling (`JoinedConvolution`).

    Parameters
    ----------
    network : FusedUNet
        The original, which is not changed.
    batch_statistics : bool
        Normalize by the mean and standard deviation of the current batch, as in training, instead
        of the stored ones. Dropout stays off.
    plain : bool
        Use `ConcatenatedConvolution` in the decoder: only operations that compilers and other
        runtimes support.

    Attributes
    ----------
    guides : tuple of Pointwise
        Maps context features to the input of each level's fusion; empty without context.
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
            getattr(source, f"film{level}")
            for level in (*levels, *range(LEVELS + 1, LEVELS + 2 + source.output_film))
            if source.conditions
        )

    def forward(
        self,
        features: Tensor,
        guides: Sequence[Tensor] | None = None,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """Return class scores for projected features and the context of each level.

        Parameters
        ----------
        features : Tensor
            (N, base_channels, ...) at full resolution: the output of the network's `input_conv`.
        guides : sequence of Tensor, optional
            Context after the matrices in `guides`, at the resolutions of levels 1 to 4.
        conditions : Tensor, optional
            (N, channel), for a network that takes them.

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
        scores = cast(Tensor, self.final_conv(x))
        if len(self.films) == LEVELS + 2:
            return self._modulated(scores, LEVELS + 1, conditions)
        return scores

    def _modulated(self, x: Tensor, level: int, conditions: Tensor | None) -> Tensor:
        return x if conditions is None else cast(Tensor, self.films[level](x, conditions))


def _guides(network: FusedUNet) -> tuple[Pointwise, ...]:
    """Return each level's context path as one matrix, and remove it from the network."""
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
    """Remove the running statistics of a normalization, so that torch uses those of the batch."""
    if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None


def _fold_normalizations(block: nn.Sequential) -> None:
    for index in range(len(block) - 1):
        first, second = block[index], block[index + 1]
        if isinstance(second, nn.BatchNorm2d | nn.BatchNorm3d):
            block[index] = fuse_conv_bn_eval(cast(nn.Conv3d, first), second)
            block[index + 1] = nn.Identity()
