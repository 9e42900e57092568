"""The dinov3 backbone as upstream checkpoints saw it, against a statement of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from upstream_features import stated

from parafovea.backbones import load_backbone
from parafovea.backbones.upstream_dinov3 import CompatibleDinov3
from parafovea.errors import ModelError
from parafovea.settings.recipe import BackboneSpec

WINDOW = (8, 12, 16)


def compatible(folder: Path, *, stride: int = 4, **changes: Any) -> CompatibleDinov3:
    arguments = {
        "weights": str(folder),
        "stride": stride,
        "planes": "xy+xz+yz",
        "compatibility": {"slice_size": 48, "window": WINDOW},
        **changes,
    }
    spec = BackboneSpec(name="dinov3", arguments=arguments)
    backbone = load_backbone(spec, spacing=(1.0, 1.0, 1.0), dimensions=3)
    assert isinstance(backbone, CompatibleDinov3)
    return backbone


def volume_of(dtype: Any, shape: tuple[int, int, int] = WINDOW) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(0).random(shape) * np.linspace(0.2, 1, shape[0])[:, None, None]
    return (values * 200).astype(dtype)


@pytest.mark.parametrize("planes", ["xy", "xy+xz+yz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_features_are_those_of_planes_stretched_one_by_one(
    tiny_vit: Path, planes: str, dtype: Any
) -> None:
    volume = volume_of(dtype)
    found = compatible(tiny_vit, planes=planes).features(volume, WINDOW)
    wanted = stated(tiny_vit, volume, planes, 48)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_planes_own_brightness_and_contrast_do_not_matter(tiny_vit: Path) -> None:
    volume = volume_of(np.float32)
    scale = np.linspace(1, 5, len(volume), dtype=np.float32)[:, None, None]
    backbone = compatible(tiny_vit, planes="xy")
    other = backbone.features(volume * scale + 100 * scale, WINDOW)
    apart = (other - backbone.features(volume, WINDOW)).abs().max()
    assert apart < 0.2 * other.std()  # steps of 8 bit, not of brightness


def test_stored_tokens_are_the_means_of_the_features_of_each_window(tiny_vit: Path) -> None:
    backbone = compatible(tiny_vit)
    assert (backbone.stride, backbone.halo, backbone.tile) == ((4, 4, 4), (0, 0, 0), WINDOW)
    volume = volume_of(np.float32, (8, 24, 16))
    found = backbone(torch.from_numpy(volume))
    halves = [stated(tiny_vit, part, "xy+xz+yz", 48) for part in np.split(volume, 2, axis=1)]
    wanted = F.avg_pool3d(torch.cat(halves, dim=2)[None], 4)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_block_at_the_border_is_a_whole_window_filled_by_reflection(tiny_vit: Path) -> None:
    volume = volume_of(np.float32, (8, 12, 12))
    found = compatible(tiny_vit)(torch.from_numpy(volume))
    filled = np.pad(volume, ((0, 0), (0, 0), (0, 4)), mode="reflect")
    wanted = F.avg_pool3d(stated(tiny_vit, filled, "xy+xz+yz", 48)[None], 4)[0][..., :3]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_convolution_of_tokens_is_one_of_features(tiny_vit: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(5, 32, generator=generator), torch.randn(5, generator=generator)
    backbone, volume = compatible(tiny_vit), volume_of(np.uint8)
    wanted = torch.einsum("oc,czyx->ozyx", weight, backbone.features(volume, WINDOW))
    found = backbone.features(volume, WINDOW, layer=(weight, bias))
    torch.testing.assert_close(found, wanted + bias[:, None, None, None], rtol=1e-4, atol=1e-4)


def test_a_finer_volume_gives_features_of_the_windows_size(tiny_vit: Path) -> None:
    volume = volume_of(np.uint8, (16, 24, 32))
    found = compatible(tiny_vit, planes="xy").features(volume, WINDOW)
    chosen = volume[np.linspace(0, 15, 8, dtype=int)]
    wanted = F.interpolate(
        stated(tiny_vit, chosen, "xy", 48).movedim(1, 0), size=WINDOW[1:], mode="nearest"
    )
    assert found.shape == (32, *WINDOW)
    assert (found - wanted.movedim(0, 1)).abs().mean() < 0.2 * found.std()


def test_images_are_normalized_as_the_weights_say(tiny_vit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    shutil.copytree(tiny_vit, folder)
    plain = compatible(folder)
    card = {"image_mean": [0.43, 0.411, 0.296], "image_std": [0.213, 0.156, 0.143]}
    (folder / "preprocessor_config.json").write_text(json.dumps(card))
    other = compatible(folder)
    volume = volume_of(np.uint8)
    assert not torch.allclose(plain.features(volume, WINDOW), other.features(volume, WINDOW))
    assert plain.fingerprint != other.fingerprint
    (folder / "preprocessor_config.json").write_text('{"image_std": [0, 1, 1]}')
    with pytest.raises(ModelError, match=r"preprocessor_config\.json: .*download it again"):
        compatible(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile": 16}, "tile cannot be set in compatibility mode"),
        ({"stride": 5}, r"window \(8, 12, 16\) must be a multiple of stride 5"),
    ],
)
def test_arguments_that_do_not_go_with_the_mode_are_refused(
    tiny_vit: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        compatible(tiny_vit, **changes)
