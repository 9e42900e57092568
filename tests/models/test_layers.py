"""Layers compute what torch's own do, and right gradients where torch's own do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from parafovea.models.networks.layers import conv


def weight_gradient(layer: nn.Module, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    layer.zero_grad()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        out = layer(values)
    out.float().square().mean().backward()
    gradient = layer.get_parameter("weight").grad
    assert gradient is not None
    return gradient.clone()


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 5, 4), (4, 2, 2)])
def test_gradients_over_few_planes_are_those_of_float32(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = conv(3, 32, 32, 3)
    values = torch.randn(8, 32, *shape).contiguous(memory_format=torch.channels_last_3d)
    exact = weight_gradient(layer, values, torch.float32)
    for _ in range(5):
        # Memory that is freed full of NaN is what an unset part of a gradient would show.
        garbage = [torch.full((2**size,), torch.nan) for size in range(8, 20)]
        del garbage
        gradient = weight_gradient(layer, values, torch.bfloat16)
        torch.testing.assert_close(gradient, exact, atol=0.02 * float(exact.abs().max()), rtol=0)


def test_two_planes_give_the_same_values_in_training_and_after() -> None:
    torch.manual_seed(0)
    layer = conv(3, 3, 4, 3)
    values = torch.randn(1, 3, 2, 6, 5)
    torch.testing.assert_close(layer.train()(values), layer.eval()(values))
