"""Voxel values, averaged over the stride, of a plane and optionally of its neighbours."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F

from parafovea.backbones.backbone import fingerprint_of, token_shape, whole_tile
from parafovea.geometry.grid import Shape
from parafovea.settings.backbones.raw import RawArguments


class Raw:
    """Backbone `raw`; see `Backbone` for its attributes.

    Parameters
    ----------
    arguments : RawArguments
        The stride, and the number of neighbouring planes.
    dimensions : int
        3, or 2 if every z slice is independent.
    device : str
        Device to compute on.
    """

    def __init__(self, arguments: RawArguments, *, dimensions: int, device: str = "cpu") -> None:
        self._arguments = arguments
        self._dimensions = dimensions
        self._device = torch.device(device)
        self.channels = arguments.channels(dimensions)
        self.stride = arguments.strides(dimensions)
        self.halo: Shape = (arguments.neighbours, 0, 0)
        self.tile = whole_tile((16, 512, 512) if dimensions == 2 else (128, 128, 128), self.stride)
        further = {"neighbours": arguments.neighbours} if arguments.neighbours else {}
        self.fingerprint = fingerprint_of("raw", stride=self.stride, **further)

    def to(self, device: str) -> Self:
        """Return the same backbone on another device."""
        return type(self)(self._arguments, dimensions=self._dimensions, device=device)

    @torch.inference_mode()
    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """Return the mean of each token's voxels; see `Backbone.__call__`."""
        depth, *_ = token_shape(block.shape, stride=self.stride, halo=self.halo)
        means = F.avg_pool3d(block.to(self._device, torch.float32)[None], self.stride)
        steps = self._arguments.steps
        if len(steps) == 1:
            return means
        first = [self.halo[0] + step for step in steps]
        return torch.cat([means[:, start : start + depth] for start in first])
