"""What encoders of images with bands share: tiles with margins, batches, upsampling, devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import nn

from parafovea.backbones.backbone import fingerprint_of, token_shape
from parafovea.geometry.grid import Shape
from parafovea.runtime.file_hash import file_sha256
from parafovea.settings.backbones.image_encoder import EncoderArguments


class ImageEncoder:
    """Base of the backbones `prithvi` and `terramind`; see `Backbone` for its attributes.

    Every z slice is an image of its own. A token depends on the whole tile that contains it.

    Parameters
    ----------
    name : str
        Name of the backbone.
    arguments : EncoderArguments
        Weights, stride, tile, overlap, layers.
    network : Module
        The encoder.
    device : str
        Device to compute on; bfloat16 autocast on CUDA, float32 elsewhere.
    **facts
        What else the tokens depend on, for the fingerprint.
    """

    def __init__(
        self,
        name: str,
        arguments: EncoderArguments,
        network: nn.Module,
        *,
        device: str,
        **facts: Any,
    ) -> None:
        self._encoder = arguments
        self._device = torch.device(device)
        self._network = network.to(self._device)
        depth, width = arguments.architecture.depth, arguments.architecture.width
        self.channels = tuple(
            f"{name}_{i:04d}" if level == depth else f"{name}_{level}_{i:04d}"
            for level in arguments.levels
            for i in range(width)
        )
        stride, margin, tile = (
            arguments.pixels_per_token,
            arguments.margin_pixels,
            arguments.tile_pixels,
        )
        self.stride: Shape = (1, stride, stride)
        self.halo: Shape = (0, margin, margin)
        self.tile: Shape = (arguments.batch_size, tile, tile)
        settings = arguments.model_dump(mode="json", exclude={"weights", "batch_size"})
        self.fingerprint = fingerprint_of(
            name,
            sha256=file_sha256(Path(arguments.weights).expanduser()),
            arguments={**settings, "layers": arguments.levels, "tile": tile, "overlap": margin},
            **facts,
        )

    def to(self, device: str) -> Self:
        """Move the network to another device and return this backbone."""
        self._device = torch.device(device)
        self._network.to(self._device)
        return self

    @torch.inference_mode()
    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """Return the encoder's tokens of a block (band, z, y, x); see `Backbone.__call__`."""
        shape = token_shape(block.shape[-3:], stride=self.stride, halo=self.halo)
        images = self.normalized(block.to(self._device, torch.float32).movedim(1, 0))
        patch, stride = self._encoder.architecture.patch, self.stride[1]
        if patch != stride:
            sides = [n // stride * patch for n in images.shape[2:]]
            images = F.interpolate(images, size=sides, mode="bilinear", align_corners=False)
        margin = self.halo[1] // stride
        found = torch.empty((len(self.channels), *shape), device=self._device)
        size = self._encoder.batch_size
        cuda = self._device.type == "cuda"
        for start in range(0, shape[0], size):
            with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=cuda):
                tokens = self.encoded(images[start : start + size])
            inner = tokens[..., margin : margin + shape[1], margin : margin + shape[2]]
            found[:, start : start + size] = inner.movedim(0, 1)
        return found

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (image, band, row, column) as the encoder takes them, its bands alone."""
        raise NotImplementedError

    def encoded(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens of normalized images, (image, channel, row, column) float32."""
        raise NotImplementedError


def columns_of(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """Return one number a band as a tensor (1, band, 1, 1), to be combined with images."""
    return like.new_tensor(values).view(1, -1, 1, 1)


def joined_levels(found: dict[int, torch.Tensor], levels: Sequence[int]) -> torch.Tensor:
    """Return the tokens (image, token, channel) of several blocks, one after the other."""
    return torch.cat([found[level] for level in levels], dim=2)
