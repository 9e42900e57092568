"""Tokens of a pretrained vision model for the planes of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F

from parafovea.backbones.backbone import fingerprint_of, token_shape
from parafovea.backbones.vision_weights import VisionModel
from parafovea.geometry.grid import Shape
from parafovea.settings.backbones.huggingface import HuggingfaceArguments

#: The axis across each plane; rows and columns are the other two, in the order z, y, x.
ACROSS = {"xy": 0, "xz": 1, "yz": 2}


class Huggingface:
    """Backbone `huggingface`; see `Backbone` for its attributes.

    Planes pass through token centres: of the s voxels that a token spans across the plane, number
    (s - 1) // 2 is used. Planes are upsampled by patch / stride with pixel faces kept in place, so
    that one patch covers exactly the voxels of one token. Class and register tokens are dropped.
    Tokens of several layers are concatenated; those of the coarser stages of a ConvNeXt are
    interpolated to the finest.

    A transformer's token depends on the whole tile that contains it, and on the tile's size:
    tokens of different tilings agree approximately, not to rounding. `overlap` discards the borders
    of a tile.

    Parameters
    ----------
    model : VisionModel
        The network with its configuration and statistics; moved to `device`.
    arguments : HuggingfaceArguments
        Planes, stride, tile, overlap, batch size, layers.
    device : str
        Device to compute on; bfloat16 autocast on CUDA, float32 elsewhere.
    colours : sequence of int
        Indices of the bands of a block (band, z, y, x) that are the network's channels; empty for
        blocks of one channel, which are grey.

    Raises
    ------
    ModelError
        If the stride is coarser than the patch, or a layer is not there.
    """

    def __init__(
        self,
        model: VisionModel,
        arguments: HuggingfaceArguments,
        *,
        device: str = "cpu",
        colours: Sequence[int] = (),
    ) -> None:
        config = model.config
        self._levels = config.levels(arguments.layers)
        self._patch = config.patch(arguments.layers)
        self._stride = arguments.voxels_per_token(self._patch)
        self._arguments = arguments
        self._device = torch.device(device)
        self._model = model
        model.network.to(self._device)
        self._planes = tuple(arguments.planes.split("+"))
        self._colours = list(colours)
        self.channels = channel_names(model, self._levels)
        self.stride, self.halo, self.tile = self._layout(arguments)
        alias = config.family == "dinov3_vit"
        self.fingerprint = fingerprint_of(
            "dinov3" if alias else "huggingface",
            **model.identity,
            arguments={
                "planes": arguments.planes,
                "stride": self.stride,
                "tile": self.tile[1],
                "overlap": self.halo[1],
                **({"colours": self._colours, "gain": arguments.gain} if self._colours else {}),
                **({} if self._levels == (config.last,) else {"layers": self._levels}),
            },
            **({} if alias else {"family": config.family}),
            **(
                {}
                if alias and model.statistics.usual
                else {"statistics": [model.statistics.mean, model.statistics.std]}
            ),
        )

    def to(self, device: str) -> Self:
        """Move the network to another device and return this backbone."""
        self._device = torch.device(device)
        self._model.network.to(self._device)
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
        """Return a block as (colour, z, y, x): one grey channel, or its colours in [0, 1]."""
        if not self._colours:
            return block[None]
        return (block[self._colours] * self._arguments.gain).clamp(0, 1)

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens of planes (plane, colour, row, column): (plane, channel, ...)."""
        rows, columns = (n // self._stride for n in images.shape[2:])
        if self._patch != self._stride:
            size = (rows * self._patch, columns * self._patch)
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        return patch_tokens(self._model, images, levels=self._levels)

    def _margin(self, axis: int) -> int:
        """Return the halo on each side of an axis, in tokens."""
        return self.halo[axis] // self.stride[axis]

    def _layout(self, arguments: HuggingfaceArguments) -> tuple[Shape, Shape, Shape]:
        """Return stride, halo and tile along z, y, x."""
        stride = self._stride
        overlap, tile = arguments.margin_pixels(self._patch), arguments.tile_pixels(self._patch)
        if arguments.planes == "xy":
            depth = arguments.plane_step
            return (
                (depth, stride, stride),
                (0, overlap, overlap),
                (depth * arguments.batch_size, tile, tile),
            )
        return (stride,) * 3, (overlap,) * 3, (tile,) * 3


def channel_names(model: VisionModel, levels: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the features of levels, those of the last one without its number."""
    config = model.config
    family = "dinov3" if config.family == "dinov3_vit" else config.family
    return tuple(
        f"{family}_{i:04d}" if level == config.last else f"{family}_{level}_{i:04d}"
        for level in levels
        for i in range(config.widths[level])
    )


def patch_tokens(
    model: VisionModel, images: torch.Tensor, *, levels: Sequence[int]
) -> torch.Tensor:
    """Return the patch tokens of images, without class and register tokens.

    Parameters
    ----------
    model : VisionModel
        A vision model.
    images : torch.Tensor
        (plane, 1 or colour, row, column) float32 in [0, 1], grey or coloured, on the network's
        device; rows and columns are multiples of the patch.
    levels : sequence of int
        Blocks or stages whose tokens are concatenated.

    Returns
    -------
    torch.Tensor
        (plane, channel, row, column) float32, one token per patch of the finest level.
    """
    config, statistics = model.config, model.statistics
    mean, std = (images.new_tensor(v).view(1, -1, 1, 1) for v in (statistics.mean, statistics.std))
    patch = min(config.strides[level] for level in levels)
    shape = [n // patch for n in images.shape[-2:]]
    wanted = {"output_hidden_states": True} if tuple(levels) != (config.last,) else {}
    if config.family in ("vit", "siglip"):
        wanted["interpolate_pos_encoding"] = True
    cuda = images.device.type == "cuda"
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=cuda):
        seen = _filled((images - mean) / std, config.multiple)
        output = model.network(pixel_values=seen, **wanted)
        maps = []
        for level in levels:
            sides = [n // config.strides[level] for n in seen.shape[-2:]]
            if level == config.last:
                states = output.last_hidden_state
            else:
                states = output.hidden_states[level]
                if config.family != "dinov3_convnext":
                    states = _last_norm(model.network)(states)
            if states.ndim == 3:
                tokens = states[:, config.prefix :].transpose(1, 2)
                states = tokens.reshape(len(images), -1, *sides)
            maps.append(states.float())
    finest = [n // patch for n in seen.shape[-2:]]
    whole = torch.cat(
        [
            m
            if list(m.shape[-2:]) == finest
            else F.interpolate(m, size=finest, mode="bilinear", align_corners=False)
            for m in maps
        ],
        dim=1,
    )
    return whole[..., : shape[0], : shape[1]]


def _last_norm(network: torch.nn.Module) -> torch.nn.Module:
    """Return the normalization after the last block of a transformer."""
    names = ("layernorm", "norm", "post_layernorm")
    return next(module for name, module in network.named_children() if name in names)


def _filled(images: torch.Tensor, multiple: int) -> torch.Tensor:
    """Return images whose last row and column are repeated up to a multiple of pixels."""
    rows, columns = (-n % multiple for n in images.shape[-2:])
    if not rows and not columns:
        return images
    return F.pad(images, (0, columns, 0, rows), mode="replicate")


def _cropped(tokens: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return tokens (plane, channel, row, column) without their margins."""
    height, width = tokens.shape[-2:]
    return tokens[..., rows : height - rows, columns : width - columns]
