"""The FusedUNet: names, counts and formulas of the family whose checkpoints it loads."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from tiny_sample import random_network
from torch.nn import functional as F

from parafovea.models.networks import fused_unet
from parafovea.models.networks.fused_unet import FusedUNet, level_widths
from parafovea.models.networks.fusion import AttentionFusion, ConcatFusion

PLAIN = ["input_conv", "enc1", "enc2", "enc3", "enc4", "bottleneck"]
PLAIN += ["dec4", "dec3", "dec2", "dec1", "final_conv"]
CONTEXT = ["context_input_conv", *(f"context_proj{k}" for k in range(1, 5))]
CONTEXT += [f"context_fusion{k}" for k in range(1, 5)]


def modules_in_order(network: FusedUNet) -> list[str]:
    names = (name.split(".")[0] for name in network.state_dict())
    return [name for name, _ in itertools.groupby(names)]


@pytest.mark.parametrize(
    ("fusion", "tensors", "parameters", "modules"),
    [
        ("none", 130, 23_577_314, PLAIN),
        ("attention", 184, 23_737_354, PLAIN + CONTEXT),
    ],
)
def test_tensors_parameters_and_order_are_those_of_the_family(
    fusion: str, tensors: int, parameters: int, modules: list[str]
) -> None:
    with torch.device("meta"):
        network = FusedUNet(384, 2, base_channels=32, context_channels=384, fusion=fusion)  # type: ignore[arg-type]
    assert len(network.state_dict()) == tensors
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert modules_in_order(network) == modules


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("input_conv.weight", (4, 6, 1, 1, 1)),
        ("enc1.0.weight", (4, 4, 3, 3, 3)),
        ("enc4.3.bias", (32,)),
        ("enc2.1.running_var", (8,)),
        ("bottleneck.4.num_batches_tracked", ()),
        ("dec4.0.weight", (32, 96, 3, 3, 3)),
        ("dec1.0.weight", (4, 12, 3, 3, 3)),
        ("final_conv.weight", (3, 4, 1, 1, 1)),
        ("context_input_conv.weight", (4, 5, 1, 1, 1)),
        ("context_proj3.weight", (16, 4, 1, 1, 1)),
        ("context_fusion4.context_proj.0.weight", (8, 32, 1, 1, 1)),
        ("context_fusion4.context_proj.3.weight", (32, 8, 1, 1, 1)),
        ("context_fusion2.raw_proj.weight", (8, 8, 1, 1, 1)),
    ],
)
def test_layers_have_the_familys_names_and_shapes(key: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        network = FusedUNet(6, 3, base_channels=4, context_channels=5)
    assert tuple(network.state_dict()[key].shape) == shape


def test_widths_double_up_to_the_limit() -> None:
    assert level_widths(16, None) == [16, 32, 64, 128, 256]
    assert level_widths(16, 48) == [16, 32, 48, 48, 48]
    assert level_widths(16, 8) == [16] * 5


@pytest.mark.parametrize("fusion", ["attention", "concat", "none"])
@pytest.mark.parametrize("size", [(16, 32), (16, 16, 32)])
def test_scores_have_the_size_of_the_input(fusion: str, size: tuple[int, ...]) -> None:
    network = FusedUNet(
        3,
        5,
        base_channels=4,
        context_channels=2,
        fusion=fusion,
        dimensions=len(size),  # type: ignore[arg-type]
    ).eval()
    context = None if fusion == "none" else torch.randn(2, 2, *size)
    with torch.inference_mode():
        scores = network(torch.randn(2, 3, *size), context)
    assert scores.shape == (2, 5, *size)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_attention_is_local_plus_its_projection_times_the_weights_of_context(
    dimensions: int,
) -> None:
    block = AttentionFusion(8, dimensions)
    norm = block.context_proj[1]
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.normal_()
        norm.bias.normal_()
    block.eval()
    local, context = torch.randn(2, 2, 8, *[4] * dimensions)

    def pointwise(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        weight = layer.weight.flatten(1)
        return torch.tensordot(x.movedim(1, -1), weight.T, 1) + layer.bias

    with torch.no_grad():
        squeezed = pointwise(block.context_proj[0], context)
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        hidden = ((squeezed - norm.running_mean) * scale + norm.bias).clamp_min(0)
        weights = 1 / (1 + torch.exp(-pointwise(block.context_proj[3], hidden.movedim(-1, 1))))
        wanted = local + (pointwise(block.raw_proj, local) * weights).movedim(-1, 1)
        torch.testing.assert_close(block(local, context), wanted, rtol=1e-5, atol=1e-5)


def test_concat_mixes_both_at_each_voxel_by_itself() -> None:
    block = ConcatFusion(4, 3)
    local, context = torch.randn(2, 1, 4, 3, 3, 3)
    with torch.no_grad():
        first, second = block.mix.weight.flatten(1).split(4, dim=1)
        wanted = torch.einsum("oc,nczyx->nozyx", first, local)
        wanted += torch.einsum("oc,nczyx->nozyx", second, context)
        wanted += block.mix.bias[:, None, None, None]
        torch.testing.assert_close(block(local, context), wanted, rtol=1e-5, atol=1e-5)


def test_the_whole_network_is_the_familys_forward_pass() -> None:
    network = random_network(FusedUNet(3, 2, base_channels=4, context_channels=2))
    layer = network.get_submodule
    features, context = torch.randn(1, 3, 16, 16, 32), torch.randn(1, 2, 16, 16, 32)
    with torch.no_grad():
        x, pyramid = layer("input_conv")(features), layer("context_input_conv")(context)
        skips = []
        for level in range(1, 5):
            x = layer(f"enc{level}")(x)
            guide = layer(f"context_proj{level}")(pyramid)
            fusion = layer(f"context_fusion{level}")
            skips.append(x + fusion.raw_proj(x) * fusion.context_proj(guide))
            x, pyramid = F.max_pool3d(x, 2), F.avg_pool3d(pyramid, 2)
        x = layer("bottleneck")(x)
        for level in range(4, 0, -1):
            x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            x = layer(f"dec{level}")(torch.cat([x, skips[level - 1]], dim=1))
        wanted = layer("final_conv")(x)
        torch.testing.assert_close(network(features, context), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusion", ["attention", "concat"])
def test_without_context_a_network_is_the_plain_one_of_the_same_weights(fusion: str) -> None:
    fused = random_network(FusedUNet(3, 2, base_channels=4, context_channels=2, fusion=fusion))  # type: ignore[arg-type]
    plain = FusedUNet(3, 2, base_channels=4, fusion="none").eval()
    own = plain.state_dict()
    plain.load_state_dict({k: v for k, v in fused.state_dict().items() if k in own})
    features, context = torch.randn(1, 3, 16, 16, 16), torch.randn(1, 2, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(fused(features), plain(features), rtol=0, atol=0)
        assert not torch.allclose(fused(features, context), plain(features), atol=1e-3)


def test_fusion_none_never_drops_a_context_silently() -> None:
    network = FusedUNet(3, 2, base_channels=4, fusion="none").eval()
    local = torch.randn(1, 4, 16, 16, 16)
    with pytest.raises((ValueError, AttributeError)):
        network(torch.randn(1, 3, 16, 16, 16), torch.randn(1, 2, 16, 16, 16))
    with pytest.raises((ValueError, AttributeError)):
        network.forward_projected(local, local)


@pytest.mark.parametrize("share", [0.1, 0.0, 0.4])
def test_channels_are_dropped_by_the_stated_share_and_twice_that_at_the_bottleneck(
    share: float,
) -> None:
    network = FusedUNet(3, 2, base_channels=4, fusion="none", dropout=share)
    found = {layer.p for layer in network.modules() if isinstance(layer, torch.nn.Dropout3d)}
    assert found == {share, 2 * share}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_gradients_of_interpolations_stay_channels_last(
    dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels_last = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    plain = F.interpolate
    dense: list[bool] = []

    def watched(x: torch.Tensor, **settings: Any) -> torch.Tensor:
        y = plain(x, **settings)
        assert y.grad_fn is not None
        y.grad_fn.register_prehook(
            lambda gradients: dense.append(gradients[0].is_contiguous(memory_format=channels_last))
        )
        return y

    torch.manual_seed(0)
    network = FusedUNet(2, 2, base_channels=4, fusion="none", dimensions=dimensions, dropout=0.0)
    network = network.to(memory_format=channels_last)
    x = torch.randn(2, 2, *[32] * dimensions).contiguous(memory_format=channels_last)

    def gradient() -> torch.Tensor:
        network.zero_grad()
        network(x).square().mean().backward()
        assert network.input_conv.weight.grad is not None
        return network.input_conv.weight.grad.clone()

    monkeypatch.setattr(F, "interpolate", watched)
    found = gradient()
    assert dense == [True] * 4
    monkeypatch.setattr(fused_unet, "_keep_gradient_dense", lambda x: None)
    expected = gradient()
    assert False in dense[4:]
    torch.testing.assert_close(found, expected)
