"""Features where a window is: token arrays on their own grids, read at a window's voxels.

The input convolutions are pointwise, so they commute with linear interpolation. They are applied
to the tokens; only their few output channels are interpolated to full resolution.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from parafovea.grid import Box, Grid, shape3
from parafovea.models.network import FusedUNet
from parafovea.resample import AxisWeights, axis_weights, reflected_indices

Weights = tuple[AxisWeights, AxisWeights, AxisWeights]


class TokenSampler:
    """Linear interpolation from a token grid to boxes of voxels of the local grid.

    A voxel's value depends on where the voxel is, not on the box that asks. Voxels beyond the
    volume are mirrored at its border.

    Parameters
    ----------
    local : Grid
        Grid of the volume that windows are cut from.
    tokens : Grid
        Grid of the features, in the same world.
    """

    def __init__(self, local: Grid, tokens: Grid) -> None:
        self.local = local
        self.tokens = tokens.converted(local.unit)
        self._known: dict[tuple[int, int, int], AxisWeights] = {}

    def weights(self, box: Box) -> Weights:
        """Return the interpolation weights of a box along z, y, x."""
        z, y, x = (self._axis(axis, box.start[axis], box.stop[axis]) for axis in range(3))
        return z, y, x

    def _axis(self, axis: int, start: int, stop: int) -> AxisWeights:
        key = (axis, start, stop)
        if key not in self._known:
            index = reflected_indices(start, stop, self.local.shape[axis])
            world = self.local.origin[axis] + index * self.local.spacing[axis]
            positions = (world - self.tokens.origin[axis]) / self.tokens.spacing[axis]
            count = self.tokens.shape[axis]
            self._known[key] = axis_weights(positions.astype(np.float64), count, 1.0)
        return self._known[key]

    def needed(self, box: Box) -> Box:
        """Return the tokens that the voxels of a box are interpolated from."""
        weights = self.weights(box)
        return Box(shape3([w.start for w in weights]), shape3([w.stop for w in weights]))


def interpolate(tokens: Tensor, weights: Weights) -> Tensor:
    """Return tokens interpolated along z, y, x.

    Parameters
    ----------
    tokens : Tensor
        (channel, tz, ty, tx) float32, just the tokens that the weights name.
    weights : tuple of AxisWeights
        As from `TokenSampler.weights`.

    Returns
    -------
    Tensor
        (channel, z, y, x) float32, channels last in memory.
    """
    along = [torch.from_numpy(w.matrix).to(tokens.device) for w in weights]
    channels, tz, ty, tx = tokens.shape
    z, y = len(weights[0].matrix), len(weights[1].matrix)
    # Channels last throughout: the network reads them so, and the products are large ones.
    values = tokens.permute(1, 2, 3, 0)
    if not weights[0].is_identity:
        values = (along[0] @ values.reshape(tz, ty * tx * channels)).reshape(z, ty, tx, channels)
    if not weights[1].is_identity:
        values = (along[1] @ values.reshape(z, ty, tx * channels)).reshape(z, y, tx, channels)
    if not weights[2].is_identity:
        values = along[2] @ values
    return values.permute(3, 0, 1, 2)


def _pointwise(layer: nn.Module) -> tuple[Tensor, Tensor]:
    weight, bias = cast(Tensor, layer.weight), cast(Tensor, layer.bias)
    return weight.reshape(weight.shape[0], weight.shape[1]), bias


def project_local(
    network: FusedUNet, tokens: Tensor, weights: Weights, raw: Tensor | None
) -> Tensor:
    """Return the network's input at full resolution, past its `input_conv`.

    Parameters
    ----------
    network : FusedUNet
        Gives the weights of the input convolution.
    tokens : Tensor
        (feature, tz, ty, tx), local features.
    weights : tuple of AxisWeights
        From the tokens to the window.
    raw : Tensor or None
        (z, y, x), the window's normalized voxels where the network takes them: its first channel.

    Returns
    -------
    Tensor
        (base_channels, z, y, x) float32.
    """
    weight, bias = _pointwise(network.input_conv)
    taken = 0 if raw is None else 1
    low = torch.einsum("bc,czyx->bzyx", weight[:, taken:], tokens.float())
    full = interpolate(low, weights) + bias[:, None, None, None]
    if raw is not None:
        full = torch.addcmul(full, weight[:, 0, None, None, None], raw.float()[None])
    return full


def project_context(network: FusedUNet, tokens: Tensor, weights: Weights) -> Tensor:
    """Return the context at full resolution, past the network's `context_input_conv`.

    Parameters
    ----------
    network : FusedUNet
        Gives the weights of the convolution.
    tokens : Tensor
        (feature, tz, ty, tx), context features.
    weights : tuple of AxisWeights
        From the tokens to the window.

    Returns
    -------
    Tensor
        (base_channels, z, y, x) float32.
    """
    weight, bias = _pointwise(network.context_input_conv)
    low = torch.einsum("bc,czyx->bzyx", weight, tokens.float()) + bias[:, None, None, None]
    return interpolate(low, weights)
