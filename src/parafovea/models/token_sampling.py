"""Interpolation of token arrays at the voxels of a window.

The input convolutions are pointwise, so they commute with linear interpolation. They are applied
to the tokens, and only their few output channels are interpolated to full resolution.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from parafovea.geometry.grid import Box, Grid, Vector, shape3
from parafovea.geometry.resample import AxisWeights, axis_weights, reflected_indices
from parafovea.models.context_alignment import concentric
from parafovea.models.networks.fused_unet import FusedUNet

Weights = tuple[AxisWeights, AxisWeights, AxisWeights]

#: Weights of an axis that are kept: the windows of an inference lie at a few places of each axis,
#: those of a training anywhere, of any size if they are deformed.
KEPT = 256


class TokenSampler:
    """Linear interpolation from a token grid to boxes of voxels of the local grid.

    A voxel's value depends on its position, not on the box that reads it. Voxels beyond the volume
    are mirrored at its border.

    With a `zoom`, features are concentric: a box reads positions `zoom` times as far from its
    centre as its voxels. A voxel's value then depends on the box, and nothing is mirrored: the
    tokens must cover the margin from `context_alignment.context_margin`.

    Parameters
    ----------
    local : Grid
        Grid of the volume that contains the windows.
    tokens : Grid
        Grid of the features, in the same world.
    zoom : tuple of float, optional
        Context spacing over local spacing along z, y, x, for concentric context.
    """

    def __init__(self, local: Grid, tokens: Grid, *, zoom: Vector | None = None) -> None:
        self.local = local
        self.tokens = tokens.converted(local.unit)
        self.zoom = zoom

    def weights(self, box: Box) -> Weights:
        """Return the interpolation weights of a box along z, y, x."""
        z, y, x = (
            _axis_weights(self.local, self.tokens, self.zoom, axis, start, stop)
            for axis, (start, stop) in enumerate(zip(box.start, box.stop, strict=True))
        )
        return z, y, x

    def positions(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert fractional local voxels (..., 3) inside the volume to fractional tokens."""
        if self.zoom is not None:
            flat = places.reshape(-1, 3)
            centre = (flat.min(axis=0) + flat.max(axis=0)) / 2
            places = np.asarray(centre + (places - centre) * np.asarray(self.zoom), np.float64)
        world = np.asarray(self.local.origin) + places * np.asarray(self.local.spacing)
        positions: NDArray[np.float64] = (world - np.asarray(self.tokens.origin)) / np.asarray(
            self.tokens.spacing
        )
        return positions

    def needed(self, box: Box) -> Box:
        """Return the box of tokens that the voxels of a box are interpolated from."""
        weights = self.weights(box)
        return Box(shape3([w.start for w in weights]), shape3([w.stop for w in weights]))


@lru_cache(maxsize=KEPT)
def _axis_weights(
    local: Grid, tokens: Grid, zoom: Vector | None, axis: int, start: int, stop: int
) -> AxisWeights:
    """Return the weights of the voxels that a box of the local grid reads along an axis."""
    if zoom is None:
        index: NDArray[Any] = reflected_indices(start, stop, local.shape[axis])
    else:
        index = concentric(start, stop, zoom[axis])
    world = local.origin[axis] + index * local.spacing[axis]
    positions = (world - tokens.origin[axis]) / tokens.spacing[axis]
    return axis_weights(positions.astype(np.float64), tokens.shape[axis], 1.0)


def interpolate_at(values: Tensor, positions: NDArray[np.float64]) -> Tensor:
    """Interpolate values linearly at arbitrary positions.

    Parameters
    ----------
    values : Tensor
        (channel, z, y, x) float32.
    positions : ndarray
        (z, y, x, 3) float64, fractional indices along z, y, x; clamped to the border.

    Returns
    -------
    Tensor
        (channel, z, y, x) float32, of the shape of `positions`.
    """
    shape = np.asarray(values.shape[1:])
    unit = positions * (2 / np.maximum(shape - 1, 1)) - 1
    places = torch.from_numpy(unit[..., ::-1].astype(np.float32)).to(values.device)
    if len(positions) == 1 and len(values[0]) == 1:  # a single section: half the work of a volume
        sampled = _grid_sample(values[:, 0][None], places[..., :2])[0][:, None]
    else:
        sampled = _grid_sample(values[None], places[None])[0]
    return sampled


def _grid_sample(values: Tensor, places: Tensor) -> Tensor:
    return F.grid_sample(values, places, padding_mode="border", align_corners=True)


class Pointwise(NamedTuple):
    """A pointwise convolution as a matrix: (outputs, inputs) weights and (outputs,) bias."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: nn.Module) -> Pointwise:
        """Return the matrix of a convolution of kernel 1."""
        return cls(cast(Tensor, layer.weight).flatten(1), cast(Tensor, layer.bias))

    def after(self, first: Pointwise) -> Pointwise:
        """Return the convolution that applies `first`, then this one."""
        weight = self.weight.double() @ first.weight.double()
        bias = self.weight.double() @ first.bias.double() + self.bias.double()
        return Pointwise(weight.float(), bias.float())


def interpolate(tokens: Tensor, weights: Weights, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Interpolate tokens along x, y, z.

    Parameters
    ----------
    tokens : Tensor
        (channel, tz, ty, tx) float32, exactly the tokens that the weights refer to.
    weights : tuple of AxisWeights
        Interpolation weights from `TokenSampler.weights`.
    dtype : torch.dtype
        Data type of the result, and of the last and largest product.

    Returns
    -------
    Tensor
        (channel, z, y, x), channels last in memory, which is fastest for networks.
    """
    wz, wy, wx = weights
    channels, tz, ty, _ = tokens.shape
    z, y, x = (len(w.matrix) for w in weights)
    if not wx.is_identity:
        tokens = tokens @ torch.from_numpy(wx.matrix).to(tokens.device).T
    values = tokens.permute(1, 2, 3, 0)
    # The largest product, over whole planes, comes last as one matrix multiplication.
    if not wy.is_identity:
        values = values.reshape(tz, ty, x * channels)
        values = (torch.from_numpy(wy.matrix).to(tokens.device) @ values).reshape(
            tz, y, x, channels
        )
    if not wz.is_identity:
        matrix = torch.from_numpy(wz.matrix).to(tokens.device, dtype)
        values = values.reshape(tz, y * x * channels).to(dtype)
        values = (matrix @ values).reshape(z, y, x, channels)
    return values.to(dtype).permute(3, 0, 1, 2)


def project(
    tokens: Tensor, layer: Pointwise, weights: Weights, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Apply a pointwise convolution to tokens, then interpolate them.

    Parameters
    ----------
    tokens : Tensor
        (feature, tz, ty, tx) of any float type.
    layer : Pointwise
        The convolution.
    weights : tuple of AxisWeights
        Interpolation weights from the tokens to the window.
    dtype : torch.dtype
        Data type of the result.

    Returns
    -------
    Tensor
        (output, z, y, x), channels last in memory.
    """
    features, *shape = tokens.shape
    low = torch.addmm(layer.bias[:, None], layer.weight, tokens.reshape(features, -1).float())
    return interpolate(low.reshape(-1, *shape), weights, dtype=dtype)


def project_at(layer: nn.Module, values: Tensor) -> Tensor:
    """Apply a pointwise convolution to values (channel, z, y, x); channels last in memory."""
    matrix = Pointwise.of(layer)
    channels, *shape = values.shape
    rows = values.reshape(channels, -1).T
    return torch.addmm(matrix.bias, rows, matrix.weight.T).reshape(*shape, -1).permute(3, 0, 1, 2)


def project_local(
    network: FusedUNet,
    tokens: Tensor,
    weights: Weights,
    raw: Tensor | None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the output of the network's `input_conv` at full resolution.

    Parameters
    ----------
    network : FusedUNet
        Network with the input convolution.
    tokens : Tensor
        (feature, tz, ty, tx), local features.
    weights : tuple of AxisWeights
        Interpolation weights from the tokens to the window.
    raw : Tensor or None
        ([band,] z, y, x), the window's normalized voxels, if they are the network's first
        channels.
    dtype : torch.dtype
        Data type of the result.

    Returns
    -------
    Tensor
        (base_channels, z, y, x), channels last in memory.
    """
    layer = Pointwise.of(network.input_conv)
    if raw is None:
        return project(tokens, layer, weights, dtype=dtype)
    bands = 1 if raw.ndim == 3 else len(raw)
    full = project(tokens, Pointwise(layer.weight[:, bands:], layer.bias), weights, dtype=dtype)
    channels, *shape = full.shape
    columns = full.permute(1, 2, 3, 0).reshape(-1, channels)
    voxels = raw.reshape(bands, -1).T.to(dtype)
    columns = columns.addmm_(voxels, layer.weight[:, :bands].T.to(dtype))
    return columns.reshape(*shape, channels).permute(3, 0, 1, 2)


def project_context(network: FusedUNet, tokens: Tensor, weights: Weights) -> Tensor:
    """Return the output of the network's `context_input_conv` at full resolution.

    Parameters
    ----------
    network : FusedUNet
        Network with the convolution.
    tokens : Tensor
        (feature, tz, ty, tx), context features.
    weights : tuple of AxisWeights
        Interpolation weights from the tokens to the window.

    Returns
    -------
    Tensor
        (base_channels, z, y, x) float32, channels last in memory.
    """
    return project(tokens, Pointwise.of(network.context_input_conv), weights)
