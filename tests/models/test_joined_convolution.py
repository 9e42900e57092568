"""A convolution of what is never built agrees with the convolution of what is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parafovea.models.networks.inference_unet import (
    TAPS,
    JoinedConvolution,
    doubled,
    doubling_matrix,
)

SHAPES = [(3, 5, 4), (1, 2, 1), (4, 6)]


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def interpolated(x: torch.Tensor) -> torch.Tensor:
    mode = "trilinear" if x.dim() == 5 else "bilinear"
    return F.interpolate(x, scale_factor=2, mode=mode, align_corners=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_doubling_all_axes_is_linear_interpolation(shape: tuple[int, ...]) -> None:
    x = seeded(2, 7, *shape)
    torch.testing.assert_close(doubled(x, range(len(shape))), interpolated(x))


def test_doubling_leaves_other_axes_alone() -> None:
    x = seeded(1, 2, 3, 4, 5)
    assert doubled(x, [1]).shape == (1, 2, 3, 8, 5)


def test_the_matrix_shifts_the_interpolated_axis_and_pads_with_zeros() -> None:
    values = torch.tensor([1.0, 2.0, 4.0])
    along = F.interpolate(values[None, None], scale_factor=2, mode="linear")[0, 0]
    below, same, above = (block @ values for block in doubling_matrix(3).split(3, dim=1))
    torch.testing.assert_close(same, along)
    torch.testing.assert_close(below, torch.cat([torch.zeros(1), along[:-1]]))
    torch.testing.assert_close(above, torch.cat([along[1:], torch.zeros(1)]))
    assert TAPS == (-1, 0, 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_joined_convolution_agrees_with_interpolating_and_concatenating(
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    layer = (nn.Conv3d if len(shape) == 3 else nn.Conv2d)(8, 4, 3, padding=1)
    x, skip = seeded(2, 5, *shape), seeded(2, 3, *[2 * n for n in shape])
    with torch.no_grad():
        wanted = layer(torch.cat([interpolated(x), skip], dim=1))
        found = JoinedConvolution(layer, 5)(x, skip)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
