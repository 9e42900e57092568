"""Month and biome as numbers, and a network that is guided by them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_sample import random_network

from parafovea.models.conditioning import condition_channels, encoded_conditions
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.networks.inference_unet import InferenceUNet


def network_of() -> FusedUNet:
    return FusedUNet(
        3, 2, base_channels=4, fusion="none", dimensions=2, conditions=("month", "biome")
    )


def test_december_is_as_near_to_january_as_january_to_february() -> None:
    december, january, february = encoded_conditions(["month"], {"month": [12, 1, 2]})
    apart = np.linalg.norm(december - january)
    assert apart == pytest.approx(np.linalg.norm(january - february), rel=1e-6)
    assert apart > 0.1


def test_every_month_and_every_biome_is_told_apart() -> None:
    months = np.repeat(np.arange(1, 13), 16)
    biomes = np.tile(np.arange(16), 12)
    found = encoded_conditions(["month", "biome"], {"month": months, "biome": biomes})
    assert found.shape == (192, condition_channels(["month", "biome"]))
    assert len(np.unique(found.round(5), axis=0)) == 192


def test_an_untrained_network_is_not_moved_by_conditions() -> None:
    network = network_of().eval()
    values, known = torch.rand(2, 3, 16, 16), torch.rand(2, condition_channels(network.conditions))
    with torch.inference_mode():
        torch.testing.assert_close(
            network(values, conditions=known), network(values, conditions=0 * known)
        )


def test_conditions_move_a_trained_network_and_its_faster_twin_alike() -> None:
    network = random_network(network_of())
    values = torch.rand(2, 3, 32, 32)
    known = torch.from_numpy(
        encoded_conditions(network.conditions, {"month": [1, 7], "biome": [3, 11]})
    )
    with torch.inference_mode():
        wanted = network(values, conditions=known)
        found = InferenceUNet(network)(network.input_conv(values), conditions=known)
        other = network(values, conditions=known.flip(0))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (wanted - other).abs().max() > 0.1


def test_a_network_that_takes_conditions_does_not_run_without_them() -> None:
    with pytest.raises(ValueError, match="takes the conditions month, biome"):
        network_of()(torch.rand(1, 3, 16, 16))
