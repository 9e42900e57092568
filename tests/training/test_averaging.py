"""The averaged network follows the one that learns, and ends as the model."""

from __future__ import annotations

import torch
from torch import nn

from parafovea.training.averaging import averaged_network


def test_the_average_is_that_of_its_formula_statistics_included() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    averaged = averaged_network(network, 0.9)
    wanted: dict[str, torch.Tensor] = {}
    for step in range(200):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        network(torch.randn(2, 1, 4, 4))
        averaged.update_parameters(network)
        share = 1 - min(0.9, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            old = wanted.get(name, value)
            if not step or not value.is_floating_point():
                wanted[name] = value.clone()
            else:
                wanted[name] = old + share * (value - old)
    for name, value in averaged.module.state_dict().items():
        torch.testing.assert_close(value, wanted[name], atol=1e-4, rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
