"""Prithvi-EO against a restatement of its own, from its published description."""

import dataclasses
import json
import logging
import math
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_prithvi import weights_of

from parafovea.backbones import feature_channels, load_backbone
from parafovea.config.model_recipes import weight_files
from parafovea.errors import ModelError
from parafovea.geometry.grid import Grid
from parafovea.planning.work import ViewWork
from parafovea.settings.backbones.prithvi import PRITHVI
from parafovea.settings.recipe import BackboneSpec

BANDS = ("B02", "B03", "B04", "B8A", "B11", "B12")
DEPTH = 2
V1 = ((775, 1081, 1229, 2497, 2204, 1611), (1282, 1270, 1399, 1368, 1292, 1155))
V2 = ((1087, 1342, 1433, 2734, 1958, 1363), (2248, 2179, 2178, 1850, 1242, 1049))


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Two blocks of each variant, whose width, heads and patch stay."""
    for name, variant in PRITHVI.items():
        monkeypatch.setitem(PRITHVI, name, dataclasses.replace(variant, depth=DEPTH))


#: Width, depth, heads, patch of the published variants.
PUBLISHED = {
    "v1_100": (768, 12, 12, 16),
    "v2_tiny_tl": (192, 12, 3, 16),
    "v2_100_tl": (768, 12, 12, 16),
    "v2_300": (1024, 24, 16, 16),
    "v2_300_tl": (1024, 24, 16, 16),
    "v2_600": (1280, 32, 16, 14),
    "v2_600_tl": (1280, 32, 16, 14),
}


def test_variants_are_the_published_ones(monkeypatch):
    monkeypatch.undo()
    found = {name: (v.width, v.depth, v.heads, v.patch) for name, v in PRITHVI.items()}
    assert found == PUBLISHED
    assert {name for name, v in PRITHVI.items() if v.coordinates} == {
        name for name in PUBLISHED if name.endswith("_tl")
    }
    assert [name for name, v in PRITHVI.items() if v.first] == ["v1_100"]


def saved(folder, name, **changes):
    path = folder / f"{name}.pt"
    torch.save({**weights_of(name), **changes}, path)
    return path


def opened(path, name, bands=BANDS, **arguments):
    chosen = {"weights": str(path), "variant": name, "overlap": 0, **arguments}
    spec = BackboneSpec(name="prithvi", arguments=chosen)
    return load_backbone(spec, spacing=(1.0, 10.0, 10.0), dimensions=2, bands=bands)


def wave(width, place):
    """Sines and cosines of one number."""
    angles = [place / 10000 ** (k / (width / 2)) for k in range(width // 2)]
    return np.array([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def restated(name, image, *, layer=DEPTH, date=None, place=None, bands=range(6)):
    """Tokens (channel, row, column) in float64, from an image (band, row, column) of numbers."""
    variant = PRITHVI[name]
    prefix = "" if variant.first else "encoder."
    weights = {k.removeprefix(prefix): v.double().numpy() for k, v in weights_of(name).items()}
    mean, std = (np.array(part, float)[list(bands)] for part in (V1 if variant.first else V2))
    image = (image - mean[:, None, None]) / std[:, None, None]
    size, width = variant.patch, variant.width
    rows, columns = (n // size for n in image.shape[1:])
    kernel = weights["patch_embed.proj.weight"][:, list(bands), 0]
    base, unit = 224 // size, width // 16
    grid = np.zeros((base, base, width))
    for y in range(base):
        for x in range(base):
            parts = [wave(6 * unit, x), wave(6 * unit, y), wave(4 * unit, 0)]
            grid[y, x] = np.concatenate(parts)
    if (rows, columns) != (base, base):
        maps = torch.from_numpy(grid).permute(2, 0, 1)[None]
        maps = torch.nn.functional.interpolate(
            maps, (rows, columns), mode="bicubic", align_corners=True
        )
        grid = maps[0].permute(1, 2, 0).numpy()
    tokens = [weights["cls_token"][0, 0]]
    for y in range(rows):
        for x in range(columns):
            patch = image[:, y * size : (y + 1) * size, x * size : (x + 1) * size]
            token = np.einsum("cbij,bij->c", kernel, patch) + weights["patch_embed.proj.bias"]
            token = token + grid[y, x]
            for part, key in ((date, "temporal"), (place, "location")):
                if part is not None:
                    both = np.concatenate([wave(width // 2, n) for n in part])
                    token = token + weights[f"{key}_embed_enc.scale"][0] * both
            tokens.append(token)
    states = np.array(tokens)

    def normal(values, key):
        centred = values - values.mean(1, keepdims=True)
        scaled = centred / np.sqrt(values.var(1, keepdims=True) + 1e-5)
        return scaled * weights[f"{key}.weight"] + weights[f"{key}.bias"]

    def linear(values, key):
        return values @ weights[f"{key}.weight"].T + weights[f"{key}.bias"]

    for n in range(layer):
        mixed = linear(normal(states, f"blocks.{n}.norm1"), f"blocks.{n}.attn.qkv")
        query, key, value = np.split(mixed, 3, axis=1)
        heads, each = [], width // variant.heads
        for h in range(variant.heads):
            part = slice(h * each, (h + 1) * each)
            score = query[:, part] @ key[:, part].T / math.sqrt(each)
            share = np.exp(score - score.max(1, keepdims=True))
            heads.append(share / share.sum(1, keepdims=True) @ value[:, part])
        states = states + linear(np.concatenate(heads, 1), f"blocks.{n}.attn.proj")
        inner = linear(normal(states, f"blocks.{n}.norm2"), f"blocks.{n}.mlp.fc1")
        inner = inner * 0.5 * (1 + torch.erf(torch.from_numpy(inner / math.sqrt(2))).numpy())
        states = states + linear(inner, f"blocks.{n}.mlp.fc2")
    return normal(states, "norm")[1:].T.reshape(width, rows, columns)


def reflectances(rows, columns, bands=6):
    return np.random.default_rng(1).random((bands, rows, columns), np.float32) * 0.6


def close(found, wanted):
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PRITHVI)
def test_tokens_of_every_variant_are_those_of_the_restatement(tmp_path, name):
    patch = PRITHVI[name].patch
    image = reflectances(3 * patch, 2 * patch)
    backbone = opened(saved(tmp_path, name), name, layers=[1, -1])
    found = backbone(torch.from_numpy(image)[:, None])[:, 0]
    first, last = (restated(name, image * 1e4, layer=n) for n in (1, 2))
    close(found, np.concatenate([first, last]))
    assert backbone.stride == (1, patch, patch)
    assert len(set(backbone.channels)) == len(found) == 2 * PRITHVI[name].width


@pytest.mark.parametrize("name", ["v2_tiny_tl", "v1_100"])
def test_images_of_the_training_size_are_seen_whole_by_default(tmp_path, name):
    spec = {"weights": str(saved(tmp_path, name)), "variant": name}
    backbone = load_backbone(
        BackboneSpec(name="prithvi", arguments=spec),
        spacing=(1.0, 10.0, 10.0),
        dimensions=2,
        bands=BANDS,
    )
    assert [t + 2 * h for t, h in zip(backbone.tile[1:], backbone.halo[1:], strict=True)] == [
        224
    ] * 2
    if name == "v2_tiny_tl":
        image = reflectances(224, 224)
        wanted = restated(name, image * 1e4)[:, 2:-2, 2:-2]
        close(backbone(torch.from_numpy(image)[:, None])[:, 0], wanted)


def test_date_and_place_are_added_as_stated(tmp_path):
    name, image = "v2_tiny_tl", reflectances(32, 32)
    path, block = saved(tmp_path, name), torch.from_numpy(image)[:, None]
    date, place = (2021, 200), (48.5, 11.25)
    found = opened(path, name, date=date, place=place)(block)[:, 0]
    # the encoder computes the sine of a year in float32
    wanted = restated(name, image * 1e4, date=date, place=place)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-4)
    turned = opened(path, name, place=place, place_order="longitude_latitude")(block)[:, 0]
    close(turned, restated(name, image * 1e4, place=(11.25, 48.5)))
    prints = {
        opened(path, name, **more).fingerprint
        for more in ({}, {"date": date}, {"place": place}, {"layers": [1]}, {"stride": 8})
    }
    assert len(prints) == 5


def test_bands_are_found_by_name_and_those_missing_are_said(tmp_path, caplog):
    name, image = "v2_tiny_tl", reflectances(32, 48, bands=4)
    path = saved(tmp_path, name)
    with caplog.at_level(logging.WARNING, "parafovea"):
        backbone = opened(path, name, bands=("B08", "B04", "B03", "B02"))
    assert "B08 stands for B8A" in caplog.text
    assert "the input has no B11, B12" in caplog.text
    found = backbone(torch.from_numpy(image)[:, None])[:, 0]
    close(found, restated(name, image[::-1] * 1e4, bands=range(4)))
    caplog.clear()
    opened(path, name, bands=("B01", *BANDS, "B08"))
    assert not caplog.records
    with pytest.raises(ModelError, match=r"takes B02, .*, but the input has VV, VH"):
        opened(path, name, bands=("VV", "VH"))
    with pytest.raises(ModelError, match="one unnamed channel"):
        opened(path, name, bands=())


def test_slices_do_not_depend_on_their_batch(tmp_path):
    name = "v2_tiny_tl"
    path = saved(tmp_path, name)
    one, many = (opened(path, name, batch_size=n) for n in (1, 8))
    block = torch.rand(6, 3, 32, 32)
    torch.testing.assert_close(one(block), many(block), rtol=1e-5, atol=1e-5)
    assert one.fingerprint == many.fingerprint


def test_other_files_of_the_same_tensors_give_the_same_tokens(tmp_path):
    name, block = "v2_tiny_tl", torch.rand(6, 1, 32, 32)
    wanted = opened(saved(tmp_path, name), name)(block)
    plain = weights_of(name)
    save_file(plain, tmp_path / "a.safetensors")
    torch.save({f"_timm_module.{k}": v for k, v in plain.items()}, tmp_path / "old.pt")
    for other in ("a.safetensors", "old.pt"):
        assert torch.equal(opened(tmp_path / other, name)(block), wanted)


def test_statistics_and_sizes_beside_the_weights_are_honoured(tmp_path):
    name, block = "v2_tiny_tl", torch.rand(6, 1, 32, 32)
    path = saved(tmp_path, name)
    plain = opened(path, name)
    facts = {"embed_dim": 192, "depth": DEPTH, "num_heads": 3, "patch_size": [1, 16, 16]}
    mean, std = [1000.0] * 6, [2000.0] * 6
    card = tmp_path / "config.json"
    card.write_text(json.dumps({"pretrained_cfg": {**facts, "mean": mean, "std": std}}))
    other = opened(path, name)
    assert other.fingerprint != plain.fingerprint
    rescaled = (block * 1e4 - 1000) / 2000
    back = torch.tensor(V2[1]).view(6, 1, 1, 1) * rescaled + torch.tensor(V2[0]).view(6, 1, 1, 1)
    torch.testing.assert_close(other(block), plain(back / 1e4), rtol=1e-4, atol=1e-4)
    spec = BackboneSpec(name="prithvi", arguments={"weights": str(path), "variant": name})
    assert weight_files(spec) == sorted(map(str, [path, card]))
    for wrong, part in (
        ({"pretrained_cfg": {**facts, "depth": 24}}, f"depth is 24, but {DEPTH} in the variant"),
        ({"pretrained_cfg": {"mean": [1.0], "std": std}}, "must be 6 numbers"),
        ({"model_type": "vit"}, "not of Prithvi-EO"),
    ):
        card.write_text(json.dumps(wrong))
        with pytest.raises(ModelError, match=part):
            opened(path, name)


class Evil:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"encoder.norm.weight": torch.ones(5)}, r"norm.weight is \(5,\) in the file, \(192,\) in"),
        ({"encoder.norm.bias": torch.full((192,), math.nan)}, "192 of 192 numbers of norm.bias"),
        ({"encoder.blocks.2.norm1.bias": torch.ones(192)}, "blocks.2.norm1.bias is of a block"),
        ({"model.lora_A.weight": torch.ones(2)}, "LoRA"),
        ({"encoder.norm.bias": 3}, "not a dictionary of tensors"),
        ({"evil": Evil()}, "cannot be read as tensors alone"),
    ],
)
def test_weights_that_do_not_fit_are_one_error(tmp_path, capsys, changes, part):
    path = saved(tmp_path, "v2_tiny_tl", **changes)
    with pytest.raises(ModelError, match=part) as caught:
        opened(path, "v2_tiny_tl")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "ran" not in capsys.readouterr().out


def test_files_that_are_missing_cut_short_or_of_another_variant_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere.pt does not exist: download"):
        opened(tmp_path / "nowhere.pt", "v2_300")
    path = saved(tmp_path, "v2_tiny_tl")
    with pytest.raises(ModelError, match=r"\(192, 6, 1, 16, 16\) in the file|in the variant"):
        opened(path, "v2_600_tl")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        opened(path, "v2_tiny_tl")
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ModelError, match=r"cannot be read|not a dictionary"):
        opened(path, "v2_tiny_tl")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"variant": "v3"}, "v2_600_tl"),
        ({"variant": "v2_300", "date": [2020, 5]}, "which knows neither"),
        ({"variant": "v2_600", "stride": 16}, "coarser than the patch of 14"),
        ({"variant": "v2_300", "layers": [3]}, "2 blocks"),
        ({"variant": "v2_300", "tile": 20}, "multiple of stride 16"),
        ({"variant": "v2_300_tl", "date": [2020, 400]}, "date"),
        ({"variant": "v2_300_tl", "place": [95, 0]}, "place"),
    ],
)
def test_arguments_that_cannot_be_are_named(arguments, part):
    spec = BackboneSpec(name="prithvi", arguments={"weights": "w.pt", **arguments})
    with pytest.raises(ModelError, match=part):
        feature_channels(spec, dimensions=2, bands=BANDS)


def test_features_are_counted_without_the_weights():
    spec = BackboneSpec(
        name="prithvi", arguments={"weights": "w.pt", "variant": "v2_600", "layers": [1, 2]}
    )
    assert feature_channels(spec, dimensions=2, bands=BANDS) == 2560
    grid = Grid(shape=(1, 28, 42), spacing=(1.0, 10.0, 10.0), unit="meter")
    assert ViewWork(grid, spec).values(2) == 2560 * 2 * 3
