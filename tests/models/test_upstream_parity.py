"""Networks of the upstream family: our forward pass is theirs."""

from __future__ import annotations

import pytest
import torch
from tiny_sample import random_network
from upstream_forward import upstream_forward

from parafovea.models.networks.fused_unet import FusedUNet

SIZE = (16, 16, 32)


def family(channels: int, *, context: bool, upsampling: int | None) -> FusedUNet:
    """A network of the family with random weights and statistics."""
    network = FusedUNet(
        channels,
        3,
        base_channels=4,
        context_channels=channels,
        fusion="attention" if context else "none",
        learned_upsampling=upsampling,  # type: ignore[arg-type]
    )
    return random_network(network)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm", ["batch", "renorm"])
@pytest.mark.parametrize("channels", [384, 1024])
@pytest.mark.parametrize("context", [False, True], ids=["plain", "context"])
@pytest.mark.parametrize("upsampling", [None, 2, 4, 8])
def test_logits_are_those_of_the_upstream_forward_pass(
    upsampling: int | None, context: bool, channels: int, norm: str
) -> None:
    network = family(channels, context=context, upsampling=upsampling)
    tokens = SIZE if upsampling is None else tuple(n // upsampling for n in SIZE)
    local = seeded(1, channels, *tokens)
    wide = seeded(1, channels, *tokens, seed=1) if context else None
    with torch.inference_mode():
        wanted = upstream_forward(
            network.state_dict(), local, wide, size=SIZE, upsampling=upsampling, norm=norm
        )
        found = network(local, wide, size=SIZE)
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("upsampling", [2, 4, 8])
def test_enlarged_inputs_are_interpolated_to_the_window(upsampling: int) -> None:
    """Features as fine as the window, as upstream feeds them, and odd numbers of tokens."""
    network = family(24, context=True, upsampling=upsampling)
    for tokens in ((16, 16, 16), (16, 7, 7), (5, 3, 9)):
        local, wide = seeded(1, 24, *tokens), seeded(1, 24, *tokens, seed=1)
        with torch.inference_mode():
            wanted = upstream_forward(
                network.state_dict(), local, wide, size=(16,) * 3, upsampling=upsampling
            )
            found = network(local, wide, size=(16,) * 3)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize(("factor", "tensors"), [(2, 9), (4, 16), (8, 23)])
def test_learned_upsampling_adds_the_familys_tensors(factor: int, tensors: int) -> None:
    with torch.device("meta"):
        network = FusedUNet(
            384, 2, base_channels=32, context_channels=384, learned_upsampling=factor
        )
    names = list(network.state_dict())
    assert len(names) == 184 + tensors
    assert names[2] == "learned_upsample.0.weight"
    last = 3 * (factor.bit_length() - 1)
    assert tuple(network.state_dict()[f"learned_upsample.{last}.weight"].shape) == (32, 32, 3, 3, 3)
    assert tuple(network.state_dict()["learned_upsample.0.weight"].shape) == (32, 32, 4, 4, 4)
