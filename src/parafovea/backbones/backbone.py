"""The interface of backbones, and the block arithmetic that they share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch

from parafovea.errors import GridError
from parafovea.geometry.grid import AXES, Shape, shape3


class Backbone(Protocol):
    """A feature extractor that works on blocks of a view.

    Tokens depend only on the block and its halo, so a caller can cut a volume into blocks whose
    corners are multiples of `stride` and concatenate the tokens.

    Attributes
    ----------
    channels : tuple of str
        Name of each channel.
    stride : tuple of int
        View voxels per token along z, y, x.
    halo : tuple of int
        Margin in view voxels that a block needs on every side; a multiple of `stride`.
    tile : tuple of int
        Preferred block size, in view voxels without halo; a multiple of `stride`.
    fingerprint : str
        Canonical JSON of everything that a cached feature depends on.
    """

    @property
    def channels(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def stride(self) -> Shape: ...  # noqa: D102

    @property
    def halo(self) -> Shape: ...  # noqa: D102

    @property
    def tile(self) -> Shape: ...  # noqa: D102

    @property
    def fingerprint(self) -> str: ...  # noqa: D102

    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """Return the tokens of a block.

        Parameters
        ----------
        block : torch.Tensor
            (z, y, x) float32 in [0, 1], halo included, on any device.

        Returns
        -------
        torch.Tensor
            (channel, z, y, x) float32 tokens of the block without its halo, on the backbone's
            device.

        Raises
        ------
        GridError
            If the block without halo is empty, or its shape is not a multiple of `stride`.
        """
        ...

    def to(self, device: str) -> Self:
        """Return the backbone on another device."""
        ...


def fingerprint_of(name: str, **settings: Any) -> str:
    """Return the canonical JSON of everything that a cached feature depends on.

    Parameters
    ----------
    name : str
        Name of the backbone.
    **settings
        Everything that changes a feature, as numbers, strings, lists and dictionaries.

    Returns
    -------
    str
        Sorted, compact JSON: equal settings give equal strings.
    """
    return json.dumps({"name": name, **settings}, sort_keys=True, separators=(",", ":"))


def token_shape(shape: Sequence[int], *, stride: Shape, halo: Shape) -> Shape:
    """Return the number of tokens of a block with its halo.

    Parameters
    ----------
    shape : sequence of int
        Shape of the block along z, y, x, halo included.
    stride, halo : tuple of int
        Voxels per token, and margin in voxels on every side.

    Returns
    -------
    tuple of int
        Tokens along z, y, x.

    Raises
    ------
    GridError
        If the block without halo is empty, or its shape is not a multiple of `stride`.
    """
    sizes = shape3(shape, "block")
    inner = [n - 2 * h for n, h in zip(sizes, halo, strict=True)]
    for axis, n, k in zip(AXES, inner, stride, strict=True):
        if n < 1 or n % k:
            raise GridError(
                f"block {sizes} without its halo {halo} has {n} voxels along {axis}: use a "
                f"positive multiple of the stride {k}"
            )
    return shape3([n // k for n, k in zip(inner, stride, strict=True)])


def whole_tile(size: Sequence[int], stride: Shape) -> Shape:
    """Return the largest multiple of `stride` within `size`, at least one token."""
    return shape3([max(1, n // k) * k for n, k in zip(size, stride, strict=True)])
