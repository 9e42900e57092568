"""Features of a whole view of a sample, computed once, block by block, at token resolution.

The local and the context view differ only in their grid: the context view is the same volume at a
coarser voxel size. Blocks are read with the backbone's halo, mirrored at the border of the volume,
so that tokens do not depend on how the volume is cut.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from parafovea.backbones.backbone import Backbone
from parafovea.errors import ScoreError
from parafovea.geometry.grid import Box, Grid, Shape
from parafovea.geometry.resample import read_reflected, resample_box

logger = logging.getLogger(__name__)

NO_MARGIN = (0, 0, 0)


class Readable(Protocol):
    """An array on a grid, on disk or in memory."""

    @property
    def grid(self) -> Grid: ...  # noqa: D102

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels ([band,] z, y, x) of a box inside the grid."""
        ...


class View:
    """A volume resampled to a backbone's grid and mirrored beyond its border.

    Parameters
    ----------
    volume : Readable
        The normalized volume on the local grid.
    grid : Grid
        Grid of the view in the same world.
    """

    def __init__(self, volume: Readable, grid: Grid) -> None:
        self.volume = volume
        self.grid = grid
        self._same = grid.same_place(volume.grid)

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels ([band,] z, y, x) of a box, which may extend beyond the view."""
        return read_reflected(self._inside, self.grid, box)

    def _inside(self, box: Box) -> NDArray[Any]:
        if self._same:
            return self.volume.read(box)
        return resample_box(self.volume.read, self.volume.grid, self.grid, box)


def block_shape(tokens: Box, backbone: Backbone, *, depth: int | None = None) -> Shape:
    """Return the shape of a block in tokens: the backbone's tile, at most all tokens."""
    terms = zip(backbone.tile, backbone.stride, tokens.shape, strict=True)
    z, y, x = (max(1, min(t // s, n)) for t, s, n in terms)
    return (z if depth is None else min(z, depth), y, x)


def token_box(view: View, backbone: Backbone, *, margin: Shape = NO_MARGIN) -> Box:
    """Return the box of tokens of a view and a margin around it, on the view's token grid.

    Parameters
    ----------
    view : View
        Input of the backbone.
    backbone : Backbone
        Feature extractor.
    margin : tuple of int
        Minimum margin of tokens around the view, in voxels of the view along z, y, x.
    """
    grid = view.grid.coarsened(backbone.stride)
    return grid.box.expanded([-(-m // s) for m, s in zip(margin, backbone.stride, strict=True)])


def log_padding(grid: Grid, backbone: Backbone) -> None:
    """Log to which size a view is mirrored if it is not a whole number of tokens.

    Parameters
    ----------
    grid : Grid
        Grid of the view.
    backbone : Backbone
        Feature extractor.
    """
    terms = zip(grid.shape, backbone.stride, strict=True)
    whole = tuple(-(-n // k) * k for n, k in terms)
    if whole != grid.shape:
        logger.info(
            "%s voxels along z, y, x are mirrored at their end to %s, which are whole tokens of "
            "%s; nothing is cut off",
            grid.shape,
            whole,
            backbone.stride,
        )


def token_blocks(
    view: View,
    backbone: Backbone,
    *,
    device: torch.device,
    margin: Shape = NO_MARGIN,
    depth: int | None = None,
    region: Box | None = None,
) -> Iterator[tuple[Box, NDArray[np.float16]]]:
    """Yield the tokens of a view, block by block, each once.

    Parameters
    ----------
    view : View
        Input of the backbone.
    backbone : Backbone
        Feature extractor.
    device : torch.device
        Device of the backbone.
    margin : tuple of int
        Margin of tokens around the view, in voxels of the view; the view is mirrored there.
    depth : int, optional
        Maximum depth of a block in tokens along z, if smaller than the backbone's tile.
    region : Box, optional
        Whole blocks to compute, on the view's token grid; by default all.

    Yields
    ------
    box : Box
        Box of the block on the view's token grid; the margin extends beyond the grid.
    tokens : ndarray
        (channel, z, y, x) float16.

    Raises
    ------
    ScoreError
        If features are not finite.
    """
    tokens = token_box(view, backbone, margin=margin)
    for box in tokens.tiles(block_shape(tokens, backbone, depth=depth)):
        if region is not None and not box.intersection(region).size:
            continue
        voxels = view.read(box.scaled(backbone.stride).expanded(backbone.halo))
        tensor = torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))
        if device.type == "cuda":
            tensor = tensor.pin_memory().to(device, non_blocking=True)
        with torch.inference_mode():
            computed = backbone(tensor).to(torch.float16)
            require_finite_tokens(computed, box, backbone)
        yield box, computed.cpu().numpy()


def require_finite_tokens(tokens: torch.Tensor, box: Box, backbone: Backbone) -> None:
    """Raise `ScoreError` if features are not finite as they are stored.

    Parameters
    ----------
    tokens : Tensor
        (channel, z, y, x) float16.
    box : Box
        Their box on the view's token grid.
    backbone : Backbone
        What computed them.
    """
    # a finite sum has finite terms only; float32 holds that of any block
    if bool(torch.isfinite(tokens.sum(dtype=torch.float32))):
        return
    wrong = ~torch.isfinite(tokens)
    channel, z, y, x = (int(n) for n in wrong.nonzero()[0])
    raise ScoreError(
        f"{int(wrong.sum())} of {wrong.numel()} features of the block {box} are not finite in "
        f"float16: channel {backbone.channels[channel]} is {float(tokens[channel, z, y, x])} at "
        f"token {(box.start[0] + z, box.start[1] + y, box.start[2] + x)}: check the sample's "
        "values, the model's normalization (clip: true) and the weights of the backbone"
    )


def token_array(
    view: View, backbone: Backbone, *, device: torch.device, depth: int | None = None
) -> NDArray[np.float16]:
    """Return all tokens of a view in memory, (channel, z, y, x) float16; as `token_blocks`."""
    tokens = np.empty(
        (len(backbone.channels), *view.grid.coarsened(backbone.stride).shape), np.float16
    )
    for box, block in token_blocks(view, backbone, device=device, depth=depth):
        tokens[(slice(None), *box.slices)] = block
    return tokens
