"""The first convolution of a decoder level, without the tensors that it would be applied to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Reach of a kernel of 3.
TAPS = (-1, 0, 1)


class JoinedConvolution(nn.Module):
    """A convolution of a coarse map at twice its resolution, concatenated with a skip connection.

    ``conv(cat([interpolate(x, scale_factor=2), skip]))`` with linear interpolation, in fewer
    operations: convolutions add up over channels, so nothing is concatenated; and interpolation
    along one axis commutes with the kernel across the others, so along the first axis `x` is
    convolved at its own, half resolution, and what its three planes of the kernel give is
    interpolated, shifted and summed in one matrix multiplication.

    Parameters
    ----------
    layer : Conv2d or Conv3d
        Kernel 3, padding 1, with bias; its weights are taken over.
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
    """What `JoinedConvolution` computes, as it was trained: interpolate, concatenate, convolve.

    Compilers and other runtimes know these operations and make their own kernels of them.

    Parameters
    ----------
    layer : Conv2d or Conv3d
        As for `JoinedConvolution`.
    """

    def __init__(self, layer: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.layer = layer
        self.mode = "trilinear" if layer.weight.dim() == 5 else "bilinear"

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return the convolution; shapes as of `JoinedConvolution.forward`."""
        wide = F.interpolate(x, scale_factor=2, mode=self.mode, align_corners=False)
        return cast(Tensor, self.layer(torch.cat([wide, skip], dim=1)))


@lru_cache(maxsize=32)
def doubling_matrix(size: int) -> Tensor:
    """Return what interpolates an axis to twice its size, for each tap of a kernel of 3.

    Parameters
    ----------
    size : int
        Of the axis.

    Returns
    -------
    Tensor
        (2 size, 3 size) float32. Block `t`, (2 size, size), gives the interpolated axis shifted
        by ``TAPS[t]``, with zeros beyond its ends: the padding of the convolution.
    """
    line = torch.eye(size)[None, None]
    rows = F.interpolate(line, size=(2 * size, size), mode="bilinear", align_corners=False)[0, 0]
    padded = F.pad(rows, (0, 0, 1, 1))
    return torch.cat([padded[1 + tap : 1 + tap + 2 * size] for tap in TAPS], dim=1)


def doubled(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Return `x` linearly interpolated to twice its size along some axes.

    As `torch.nn.functional.interpolate` with ``scale_factor=2`` and ``align_corners=False``: new
    voxels lie a quarter of an old one off its centre, so each mixes two neighbours, 3 : 1; the
    outermost repeat the border. Whole arrays at a time, one axis after the other.

    Parameters
    ----------
    x : Tensor
        (N, channel, [z,] y, x), channels last in memory.
    axes : sequence of int
        Spatial axes; 0 is the first.

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
