"""Backbones that see several bands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parafovea.backbones import feature_channels, load_backbone
from parafovea.errors import ModelError
from parafovea.settings.recipe import BackboneSpec

BANDS = ("B02", "B03", "B04", "B08")


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["filterbank", "raw"])
def test_each_band_gives_the_tokens_that_it_gives_alone(name: str, dimensions: int) -> None:
    spec = BackboneSpec(name=name)  # type: ignore[arg-type]
    spacing = (1.0, 10.0, 10.0) if dimensions == 2 else (10.0, 10.0, 10.0)
    alone = load_backbone(spec, spacing=spacing, dimensions=dimensions)
    every = load_backbone(spec, spacing=spacing, dimensions=dimensions, bands=BANDS)
    inner = (2, 16, 32) if dimensions == 2 else (16, 16, 16)
    size = [n + 2 * h for n, h in zip(inner, alone.halo, strict=True)]
    block = torch.rand(4, *size, generator=torch.Generator().manual_seed(0))
    found = every(block)
    wanted = torch.cat([alone(band) for band in block])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert len(every.channels) == len(found) == 4 * len(alone.channels)
    assert feature_channels(spec, dimensions=dimensions, bands=BANDS) == len(found)
    assert every.channels[0] == f"B02.{alone.channels[0]}"


def test_what_is_cached_depends_on_the_bands_and_their_order() -> None:
    spec, spacing = BackboneSpec(name="raw"), (1.0, 10.0, 10.0)
    prints = {
        load_backbone(spec, spacing=spacing, dimensions=2, bands=bands).fingerprint
        for bands in ((), ("B02",), ("B02", "B03"), ("B03", "B02"))
    }
    assert len(prints) == 4


def test_a_transformer_sees_three_bands_as_colours(tiny_vit: Path) -> None:
    spec = BackboneSpec(name="dinov3", arguments={"weights": str(tiny_vit), "stride": 8})
    backbone = load_backbone(spec, spacing=(1, 10, 10), dimensions=2, bands=BANDS)
    grey = load_backbone(spec, spacing=(1, 10, 10), dimensions=2)
    size = [1, *(32 + 2 * h for h in backbone.halo[1:])]
    block = torch.rand(4, *size, generator=torch.Generator().manual_seed(0)) / 3
    tokens = backbone(block)
    assert tokens.shape == grey(block[0]).shape
    without_infrared = block.clone()
    without_infrared[3] = 0
    torch.testing.assert_close(backbone(without_infrared), tokens)
    swapped = block[[2, 1, 0, 3]]
    assert (backbone(swapped) - tokens).abs().max() > 1e-3
    # three equal bands are what grey is
    equal = block[:1].expand(4, -1, -1, -1)
    torch.testing.assert_close(backbone(equal), grey(block[0] * 3), rtol=1e-4, atol=1e-4)


def test_colours_that_the_input_lacks_are_named(tiny_vit: Path) -> None:
    spec = BackboneSpec(name="dinov3", arguments={"weights": str(tiny_vit)})
    with pytest.raises(
        ModelError, match=r"uses B04, B03, B02 .* but the input has the bands VV, VH"
    ):
        load_backbone(spec, spacing=(1, 10, 10), dimensions=2, bands=("VV", "VH"))
