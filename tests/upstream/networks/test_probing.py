"""What a run on noise shows of a network."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from parafovea.models.networks.image_network import ModuleNetwork
from parafovea.settings.networks import ImageNetworkSpec
from parafovea.upstream.networks.probing import Prober


@pytest.mark.skipif(sys.platform != "linux", reason="no peak of a part of a process elsewhere")
def test_memory_of_a_window_is_counted_though_as_much_was_freed_before():
    for _ in range(3):
        held = [torch.zeros(1 << 20) for _ in range(64)]
        last = held[-1]
        del held
    assert last.numel()
    channels, side = 128, 32
    module = nn.Sequential(nn.Conv3d(1, channels, 1), nn.ReLU(), nn.Conv3d(channels, 2, 1))
    spec = ImageNetworkSpec(type="exported", dimensions=3, output_channels=2)
    network = ModuleNetwork(spec, module.eval(), "own")
    prober = Prober(network, input_channels=1, entry=0, source="own.pt2")
    found = prober.probe((side, side, side), fixed_window=True)
    assert found.window_bytes > 4 * channels * side**3
