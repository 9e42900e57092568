"""A single-channel backbone applied to each band of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch

from parafovea.backbones.backbone import Backbone, fingerprint_of
from parafovea.geometry.grid import Shape


class Bandwise:
    """A backbone whose blocks are (band, z, y, x); see `Backbone` for its attributes.

    Parameters
    ----------
    backbone : Backbone
        Single-channel backbone, applied to every band independently.
    bands : sequence of str
        Names of the bands, in the order of the blocks.
    dimensions : int
        With 2, z slices are independent, and the bands are computed in one call.
    """

    def __init__(self, backbone: Backbone, bands: Sequence[str], *, dimensions: int) -> None:
        self._backbone = backbone
        self._bands = tuple(bands)
        self._dimensions = dimensions
        self.channels = tuple(f"{band}.{name}" for band in bands for name in backbone.channels)
        self.stride: Shape = backbone.stride
        self.halo: Shape = backbone.halo
        self.tile: Shape = backbone.tile
        self.fingerprint = fingerprint_of("bands", bands=self._bands, each=backbone.fingerprint)

    def to(self, device: str) -> Self:
        """Return the same backbone on another device."""
        return type(self)(self._backbone.to(device), self._bands, dimensions=self._dimensions)

    @torch.inference_mode()
    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """Return the tokens of all bands, concatenated in the order of the bands."""
        flat = self._dimensions == 2 and self.halo[0] == 0 and self.stride[0] == 1
        if not flat:
            return torch.cat([self._backbone(band) for band in block])
        # Slices are independent, so those of all bands form one stack.
        tokens = self._backbone(block.flatten(0, 1))
        channels, _, *plane = tokens.shape
        each = tokens.reshape(channels, len(self._bands), -1, *plane)
        return each.movedim(1, 0).flatten(0, 1).contiguous()
