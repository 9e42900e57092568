"""What the arguments of the encoders of images with bands share: `prithvi` and `terramind`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from parafovea.settings.backbones.arguments import Arguments

#: Side of the images that the encoders were trained on, in pixels.
ENCODER_IMAGE = 224


@dataclass(frozen=True)
class EncoderVariant:
    """A published encoder of images with bands.

    Attributes
    ----------
    width, depth, heads, patch : int
        Features per token, blocks, heads, pixels per token.
    """

    width: int
    depth: int
    heads: int
    patch: int = 16

    @property
    def parameters(self) -> int:
        """Weights of its blocks, which are nearly all."""
        return 12 * self.depth * self.width**2


class EncoderArguments(Arguments):
    """Arguments that the encoders of images with bands share."""

    weights: str = Field(min_length=1, description="File of the weights, .safetensors or .pt.")
    stride: int | None = Field(
        None,
        ge=1,
        description="Pixels per token, by default the patch; below it, images are upsampled.",
    )
    tile: int | None = Field(
        None,
        ge=1,
        description="Side of a tile in pixels, without overlap; by default 224 upsampled with it.",
    )
    overlap: int | None = Field(
        None, ge=0, description="Margin on every side of a tile in pixels; default two tokens."
    )
    batch_size: int = Field(8, ge=1, description="Images per pass; does not change the result.")
    layers: tuple[int, ...] = Field(
        (),
        description="Blocks whose tokens are concatenated, from 1, or from -1 backwards; the last "
        "one by default.",
    )

    @property
    @abstractmethod
    def architecture(self) -> EncoderVariant:
        """Width, depth, heads and patch."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Blocks whose tokens are concatenated, from 1."""
        depth = self.architecture.depth
        return tuple(n + depth + 1 if n < 0 else n for n in self.layers) or (depth,)

    @property
    def images(self) -> int:
        """Images whose tokens pass through the blocks together, at each place."""
        return 1

    @property
    def features(self) -> int:
        """Features per token, of all its blocks together."""
        return self.architecture.width * len(self.levels)

    @property
    def pixels_per_token(self) -> int:
        """Pixels per token."""
        return self.architecture.patch if self.stride is None else self.stride

    @property
    def margin_pixels(self) -> int:
        """Margin on every side of a tile in pixels, before upsampling."""
        return 2 * self.pixels_per_token if self.overlap is None else self.overlap

    @property
    def tile_pixels(self) -> int:
        """Side of a tile in pixels, before upsampling."""
        if self.tile is not None:
            return self.tile
        whole = ENCODER_IMAGE // self.architecture.patch * self.pixels_per_token
        return max(self.pixels_per_token, whole - 2 * self.margin_pixels)

    @model_validator(mode="after")
    def _whole_tokens(self) -> Self:
        variant, stride = self.architecture, self.pixels_per_token
        if stride > variant.patch:
            raise ValueError(
                f"stride {stride} is coarser than the patch of {variant.patch} pixels: use a "
                f"stride of at most {variant.patch}, or coarser pixels"
            )
        for name in ("tile", "overlap"):
            value = getattr(self, name)
            if value is not None and value % stride:
                raise ValueError(f"{name} {value} must be a multiple of stride {stride}")
        if len(set(self.levels)) != len(self.levels) or not all(
            1 <= n <= variant.depth for n in self.levels
        ):
            raise ValueError(
                f"layers {list(self.layers)} must be different ones of the {variant.depth} blocks: "
                f"1 to {variant.depth}, or -1 to -{variant.depth} from the end"
            )
        return self
