"""A network rewritten for speed computes the same, and leaves the original alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_sample import random_network
from torch import nn

from parafovea.geometry.grid import Box, Grid
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.networks.fusion import Fusion
from parafovea.models.networks.inference_unet import PreparedUNet
from parafovea.models.token_sampling import TokenSampler, project, project_context

WINDOW = {2: (1, 32, 32), 3: (16, 32, 32)}


def network_of(fusion: Fusion, dimensions: int) -> FusedUNet:
    network = FusedUNet(
        3, 4, base_channels=4, context_channels=2, fusion=fusion, dimensions=dimensions
    )
    return random_network(network)


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("fusion", ["attention", "concat"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_context_from_tokens_guides_as_context_at_full_resolution(
    fusion: Fusion, dimensions: int, plain: bool
) -> None:
    network = network_of(fusion, dimensions)
    box = Box.whole(WINDOW[dimensions])
    sampler = TokenSampler(Grid(box.shape, (8, 8, 8)), Grid((4, 9, 9), (32, 30, 30)))
    weights = sampler.weights(box)
    tokens = seeded(2, *sampler.needed(box).shape)
    flat = dimensions == 2

    def batch(view: torch.Tensor) -> torch.Tensor:
        return (view.squeeze(1) if flat else view)[None]

    local = batch(seeded(4, *box.shape))
    ready = PreparedUNet(network, plain=plain)
    with torch.inference_mode():
        wanted = network.forward_projected(local, batch(project_context(network, tokens, weights)))
        views = []
        for level, guide in enumerate(ready.guides):
            factors = (1 if flat else 2**level, 2**level, 2**level)
            z, y, x = (w.pooled(f) for w, f in zip(weights, factors, strict=True))
            views.append(batch(project(tokens, guide, (z, y, x))))
        found = ready(local, views)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_network_without_context_computes_the_same(dimensions: int) -> None:
    network = network_of("none", dimensions)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    local = seeded(2, 4, *[32] * dimensions)
    ready = PreparedUNet(network)
    with torch.inference_mode():
        wanted = network.forward_projected(local)
        torch.testing.assert_close(ready(local), wanted, rtol=1e-4, atol=1e-4)
    assert ready.guides == ()
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_no_normalization_is_left() -> None:
    kinds = {type(module) for module in PreparedUNet(network_of("attention", 3)).modules()}
    assert nn.BatchNorm3d not in kinds
    assert any(issubclass(kind, nn.Conv3d) for kind in kinds)


def test_pooled_weights_give_the_means_of_what_the_weights_give() -> None:
    sampler = TokenSampler(Grid((1, 1, 32), (8, 8, 8)), Grid((1, 1, 11), (8, 8, 24)))
    along = sampler.weights(Box.whole((1, 1, 32)))[2]
    values = np.random.default_rng(0).random(along.matrix.shape[1], dtype=np.float32)
    wanted = (along.matrix @ values).reshape(8, 4).mean(axis=1)
    np.testing.assert_allclose(along.pooled(4).matrix @ values, wanted, rtol=1e-5)


@pytest.mark.parametrize("fusion", ["attention", "concat"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_batchs_statistics_are_those_of_the_plain_network_in_training(
    fusion: Fusion, dimensions: int
) -> None:
    network = network_of(fusion, dimensions)
    local = seeded(2, 4, *[32] * dimensions)
    ready = PreparedUNet(network, batch_statistics=True)
    plain = copy.deepcopy(network)
    for layer in plain.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            layer.train()

    def spread(values: torch.Tensor, size: int) -> torch.Tensor:
        one = values.reshape(*values.shape, *[1] * dimensions)
        return one.expand(*values.shape, *[size] * dimensions)

    # A context that is constant is its own average at every level.
    values = seeded(2, 2)
    context = spread(values, 32)
    with torch.inference_mode():
        views = [
            spread(values @ guide.weight.T + guide.bias, 32 // 2**level)
            for level, guide in enumerate(ready.guides)
        ]
        wanted = plain.forward_projected(local, plain.context_input_conv(context))
        found = ready(local, views)
        usual = network.forward_projected(local, network.context_input_conv(context))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    assert (found - usual).abs().max() > 0.1
