"""The same prediction by MONAI: every feature at full resolution, in one tensor, in memory."""

from __future__ import annotations

from typing import cast

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from parafovea.geometry.grid import Box, Shape
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.token_sampling import interpolate

#: Voxels along z, y, x that are interpolated at once.
BRICK: Shape = (64, 64, 64)


class FullResolution(nn.Module):
    """A fused network as MONAI takes it: one input tensor, class probabilities as output.

    The softmax is within, so that windows are averaged as probabilities, as ours are.

    Parameters
    ----------
    network : FusedUNet
        In evaluation mode.
    input_channels : int
        Local channels, raw voxels included; those behind them are the context's.
    """

    def __init__(self, network: FusedUNet, input_channels: int) -> None:
        super().__init__()
        self.network = network
        self.input_channels = input_channels

    def forward(self, stacked: Tensor) -> Tensor:
        """Return probabilities (N, class, z, y, x) of inputs (N, channel, z, y, x)."""
        local = stacked[:, : self.input_channels]
        context = stacked[:, self.input_channels :] if stacked.shape[1] > local.shape[1] else None
        return cast(Tensor, self.network(local, context)).softmax(dim=1)


def full_resolution(inputs: SampleInputs, box: Box | None = None) -> Tensor:
    """Return raw voxels, local features and context features, interpolated to every voxel.

    Parameters
    ----------
    inputs : SampleInputs
        The sample.
    box : Box, optional
        Voxels of the local grid; all of them by default.

    Returns
    -------
    Tensor
        (1, channel, z, y, x) float32, filled brick by brick so that nothing else of its size is
        held.
    """
    box = box or inputs.grid.box
    stacked = torch.empty(1, inputs.input_channels + inputs.context_channels, *box.shape)
    for brick in box.tiles(BRICK):
        region = inputs.read(brick)
        raw = region.raw_window(brick)
        parts = [] if raw is None else [torch.from_numpy(raw)[None].float()]
        for block in (region.features, region.context):
            if block is not None:
                tokens, weights = block.window(brick)
                parts.append(interpolate(torch.from_numpy(tokens).float(), weights))
        place = brick.relative_to(box.start).slices
        stacked[(0, slice(None), *place)] = torch.cat(parts)
    return stacked


def predicted_by_monai(
    network: FullResolution,
    stacked: Tensor,
    window: Shape,
    *,
    overlap: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the blended probabilities of MONAI's sliding windows.

    Parameters
    ----------
    network : FullResolution
        The network.
    stacked : Tensor
        (1, channel, z, y, x) float32, as from `full_resolution`.
    window : tuple of int
        Voxels of a window along z, y, x.
    overlap : float
        Share of a window that its neighbour covers too.
    dtype : torch.dtype
        Of the convolutions, under autocast where it is not float32.

    Returns
    -------
    Tensor
        (class, z, y, x) float32, windows averaged with equal weights.
    """
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32),
    ):
        blended = sliding_window_inference(
            stacked, roi_size=window, sw_batch_size=1, predictor=network, overlap=overlap
        )
    return cast(Tensor, blended)[0]
