"""Tokens of a DINOv3 vision transformer for the planes of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F

from parafovea.backbones.backbone import fingerprint_of, token_shape
from parafovea.backbones.vit_weights import IMAGENET_MEAN, IMAGENET_STD
from parafovea.errors import ModelError
from parafovea.geometry.grid import Shape
from parafovea.settings.backbones import Dinov3Arguments

#: The axis across each plane; rows and columns are the other two, in the order z, y, x.
ACROSS = {"xy": 0, "xz": 1, "yz": 2}


class Dinov3:
    """Backbone `dinov3`; see `Backbone` for its attributes.

    Planes pass through token centres: of the s voxels that a token spans across the plane, number
    (s - 1) // 2 is used. Planes are upsampled by patch / stride with pixel faces kept in place, so
    that one patch covers exactly the voxels of one token.

    A transformer's token depends on the whole tile that contains it, and on the tile's size:
    tokens of different tilings agree approximately, not to rounding. `overlap` discards the borders
    of a tile.

    Parameters
    ----------
    network : torch.nn.Module
        A `transformers.DINOv3ViTModel` in evaluation mode; moved to `device`.
    arguments : Dinov3Arguments
        Planes, stride, tile, overlap, batch size.
    identity : dict of str
        Identity of the weights, for the fingerprint.
    device : str
        Device to compute on; bfloat16 autocast on CUDA, float32 elsewhere.
    colours : sequence of int
        Indices of the red, green and blue bands of a block (band, z, y, x); empty for blocks of
        one channel, which are grey.
    statistics : tuple of sequence of float, optional
        Mean and standard deviation of red, green and blue that the network was trained with;
        ImageNet's by default.

    Raises
    ------
    ModelError
        If the stride is coarser than the patch.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        arguments: Dinov3Arguments,
        *,
        identity: dict[str, str],
        device: str = "cpu",
        colours: Sequence[int] = (),
        statistics: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        config: Any = network.config
        self._patch = int(config.patch_size)
        if arguments.stride > self._patch:
            raise ModelError(
                f"backbone dinov3: stride {arguments.stride} is coarser than the patch of "
                f"{self._patch} pixels: use a stride of at most {self._patch}, or coarser voxels"
            )
        self._arguments = arguments
        self._device = torch.device(device)
        self._network = network.to(self._device)
        self._planes = tuple(arguments.planes.split("+"))
        self._colours = list(colours)
        self._mean, self._std = statistics or (IMAGENET_MEAN, IMAGENET_STD)
        self.channels = tuple(f"dinov3_{i:04d}" for i in range(int(config.hidden_size)))
        self.stride, self.halo, self.tile = self._layout(arguments)
        self.fingerprint = fingerprint_of(
            "dinov3",
            **identity,
            arguments={
                "planes": arguments.planes,
                "stride": self.stride,
                "tile": self.tile[1],
                "overlap": self.halo[1],
                **({"colours": self._colours, "gain": arguments.gain} if self._colours else {}),
            },
        )

    def to(self, device: str) -> Self:
        """Move the network to another device and return this backbone."""
        self._device = torch.device(device)
        self._network.to(self._device)
        return self

    @torch.inference_mode()
    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """Return the transformer's tokens of a block; see `Backbone.__call__`."""
        shape = token_shape(block.shape[-3:], stride=self.stride, halo=self.halo)
        voxels = self._coloured(block.to(self._device, torch.float32))
        total = torch.zeros((len(self.channels), *shape), device=self._device)
        size = self._arguments.batch_size
        for plane in self._planes:
            axis = ACROSS[plane]
            step, halo = self.stride[axis], self.halo[axis]
            # The planes through the token centres; axis 0 of both arrays runs across the planes.
            seen = voxels.movedim(axis + 1, 0)[halo + (step - 1) // 2 :: step][: shape[axis]]
            target = total.movedim(axis + 1, 0)
            rows, columns = (a for a in range(3) if a != axis)
            for start in range(0, shape[axis], size):
                tokens = self._tokens(seen[start : start + size])
                inner = _cropped(tokens, self._margin(rows), self._margin(columns))
                target[start : start + size] += inner
        return total / len(self._planes)

    def _coloured(self, block: torch.Tensor) -> torch.Tensor:
        """Return a block as (colour, z, y, x): one grey channel, or red, green, blue in [0, 1]."""
        if not self._colours:
            return block[None]
        return (block[self._colours] * self._arguments.gain).clamp(0, 1)

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens of planes (plane, colour, row, column): (plane, channel, ...)."""
        rows, columns = (n // self._arguments.stride for n in images.shape[2:])
        if self._patch != self._arguments.stride:
            size = (rows * self._patch, columns * self._patch)
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        return patch_tokens(self._network, images, mean=self._mean, std=self._std)

    def _margin(self, axis: int) -> int:
        """Return the halo on each side of an axis, in tokens."""
        return self.halo[axis] // self.stride[axis]

    def _layout(self, arguments: Dinov3Arguments) -> tuple[Shape, Shape, Shape]:
        """Return stride, halo and tile along z, y, x."""
        stride = arguments.stride
        overlap, tile = arguments.margin_pixels, arguments.tile_pixels(self._patch)
        if arguments.planes == "xy":
            depth = arguments.plane_step
            return (
                (depth, stride, stride),
                (0, overlap, overlap),
                (depth * arguments.batch_size, tile, tile),
            )
        return (stride,) * 3, (overlap,) * 3, (tile,) * 3


def patch_tokens(
    network: torch.nn.Module,
    images: torch.Tensor,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> torch.Tensor:
    """Return the patch tokens of images, without class and register tokens.

    Parameters
    ----------
    network : torch.nn.Module
        A `transformers.DINOv3ViTModel`.
    images : torch.Tensor
        (plane, 1 or 3, row, column) float32 in [0, 1], grey or red, green and blue, on the
        network's device.
    mean, std : sequence of float
        Statistics of red, green and blue that the network was trained with.

    Returns
    -------
    torch.Tensor
        (plane, channel, row, column) float32, one token per patch.
    """
    config: Any = network.config
    rows, columns = (n // int(config.patch_size) for n in images.shape[-2:])
    centre, scale = (images.new_tensor(v).view(1, 3, 1, 1) for v in (mean, std))
    cuda = images.device.type == "cuda"
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=cuda):
        states = network(pixel_values=(images - centre) / scale).last_hidden_state
    tokens: torch.Tensor = states[:, 1 + int(config.num_register_tokens) :].float()
    return tokens.transpose(1, 2).reshape(len(images), -1, rows, columns)


def _cropped(tokens: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return tokens (plane, channel, row, column) without their margins."""
    height, width = tokens.shape[-2:]
    return tokens[..., rows : height - rows, columns : width - columns]
