"""A network rewritten for speed computes the same, and leaves the original alone."""

from __future__ import annotations

import pytest
import torch
from tiny_sample import random_network
from torch import nn

from parafovea.models.fusion import Fusion
from parafovea.models.network import FusedUNet
from parafovea.models.prepare import folded


def network_of(fusion: Fusion, dimensions: int) -> FusedUNet:
    network = FusedUNet(
        3, 4, base_channels=4, context_channels=2, fusion=fusion, dimensions=dimensions
    )
    return random_network(network)


@pytest.mark.parametrize("fusion", ["attention", "concat", "none"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_folded_network_computes_the_same(fusion: Fusion, dimensions: int) -> None:
    network = network_of(fusion, dimensions)
    generator = torch.Generator().manual_seed(0)
    local, wide = torch.randn(2, 2, 4, *[32] * dimensions, generator=generator)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    quick = folded(network)
    with torch.inference_mode():
        for context in (None,) if fusion == "none" else (None, wide):
            wanted = network.forward_projected(local, context)
            found = quick.forward_projected(local, context)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_no_normalization_is_left() -> None:
    kinds = {type(module) for module in folded(network_of("attention", 3)).modules()}
    assert nn.BatchNorm3d not in kinds
    assert nn.Conv3d in kinds


def test_a_folded_network_still_computes_in_half_precision() -> None:
    network = network_of("attention", 3)
    local, wide = torch.randn(2, 1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = network.forward_projected(local, wide).softmax(dim=1)
        half = folded(network).to(torch.bfloat16)
        found = half.forward_projected(local.bfloat16(), wide.bfloat16()).float().softmax(dim=1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.05)
