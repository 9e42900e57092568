"""What a run on noise shows of a network."""

from __future__ import annotations

import gc
import sys

import pytest
import torch
from torch import Tensor, nn

from parafovea.models.networks.image_network import ModuleNetwork
from parafovea.settings.networks import ImageNetworkSpec
from parafovea.upstream.networks.probing import Prober

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="no peak of a part of a process elsewhere"
)

CHANNELS, SIDE = 128, 32


class _Collecting(nn.Module):
    """Collects garbage, as Python does at any time."""

    def forward(self, image: Tensor) -> Tensor:
        gc.collect()
        return image


def _window_bytes(*first: nn.Module) -> int:
    """Return the measured memory of a window, of which the hidden channels are most."""
    hidden = nn.Conv3d(1, CHANNELS, 1)
    module = nn.Sequential(*first, hidden, nn.ReLU(), nn.Conv3d(CHANNELS, 2, 1))
    spec = ImageNetworkSpec(type="exported", dimensions=3, output_channels=2)
    network = ModuleNetwork(spec, module.eval(), "own")
    prober = Prober(network, input_channels=1, entry=0, source="own.pt2")
    return prober.probe((SIDE, SIDE, SIDE), fixed_window=True).window_bytes


def test_memory_of_a_window_is_counted_though_as_much_was_freed_before():
    for _ in range(3):
        held = [torch.zeros(1 << 20) for _ in range(64)]
        last = held[-1]
        del held
    assert last.numel()
    assert _window_bytes() > 4 * CHANNELS * SIDE**3


def test_memory_of_a_window_is_counted_though_as_much_garbage_is_collected_meanwhile():
    garbage = [torch.ones(1 << 20) for _ in range(64)]
    garbage.append(garbage)
    del garbage
    assert _window_bytes(_Collecting()) > 4 * CHANNELS * SIDE**3
