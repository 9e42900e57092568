"""TerraMind against a restatement of its own, from its published description."""

import dataclasses
import logging
import math
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_terramind import COUNTS, terramind_weights

from parafovea.backbones import feature_channels, load_backbone
from parafovea.backbones.backbone import Backbone
from parafovea.config.model_recipes import weight_files
from parafovea.errors import ModelError
from parafovea.geometry.grid import Grid
from parafovea.planning.work import ViewWork
from parafovea.settings.backbones.terramind import TERRAMIND
from parafovea.settings.recipe import BackboneSpec

#: Width, depth, heads of the published sizes.
PUBLISHED = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}

#: Name in the files, bands in their order, mean, deviation.
MODALITIES = {
    "S2L2A": (
        "sen2l2a",
        "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12",
        "1390.458 1503.317 1718.197 1853.91 2199.1 2779.975 2987.011 3083.234 3132.22 3162.988 "
        "2424.884 1857.648",
        "2106.761 2141.107 2038.973 2134.138 2085.321 1889.926 1820.257 1871.918 1753.829 1797.379 "
        "1434.261 1334.311",
    ),
    "S2L1C": (
        "sen2l1c",
        "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12",
        "2357.089 2137.385 2018.788 2082.986 2295.651 2854.537 3122.849 3040.56 3306.481 1473.847 "
        "506.07 2472.825 1838.929",
        "1624.683 1675.806 1557.708 1833.702 1823.738 1733.977 1732.131 1679.732 1727.26 1024.687 "
        "442.165 1331.411 1160.419",
    ),
    "RGB": ("sen2rgb", "B04 B03 B02", "87.271 80.931 66.667", "58.767 47.663 42.631"),
    "S1GRD": ("sen1grd", "VV VH", "-12.599 -20.293", "5.195 5.890"),
    "S1RTC": ("sen1rtc", "VV VH", "-10.93 -17.329", "4.391 4.459"),
    "DEM": ("dem", "DEM", "670.665", "951.272"),
}

RANGES = {"VV": [-25.0, 0.0], "VH": [-32.0, -5.0], "DEM": [0.0, 3000.0]}
DEPTH = 2


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Two blocks of each size, whose width, heads and patch stay."""
    for name, variant in TERRAMIND.items():
        monkeypatch.setitem(TERRAMIND, name, dataclasses.replace(variant, depth=DEPTH))


def saved(folder, size="tiny", **changes):
    path = folder / f"{size}.pt"
    torch.save({**terramind_weights(size), **changes}, path)
    return path


def arguments_of(path, *modalities, size="tiny", **more):
    bands = {band for name in modalities for band in MODALITIES[name][1].split()}
    ranges = {band: limits for band, limits in RANGES.items() if band in bands}
    white = {"white": 0.25} if "RGB" in modalities else {}
    stated = {"weights": str(path), "size": size, "modalities": list(modalities)}
    return {**stated, "ranges": ranges, "overlap": 0, **white, **more}


def opened(path, *modalities, bands=None, **more) -> Backbone:
    spec = BackboneSpec(name="terramind", arguments=arguments_of(path, *modalities, **more))
    if bands is None:
        bands = [band for name in modalities for band in MODALITIES[name][1].split()]
    return load_backbone(spec, spacing=(1.0, 10.0, 10.0), dimensions=2, bands=bands)


def pixels(bands, rows, columns):
    return np.random.default_rng(1).random((bands, rows, columns), np.float32)


def physical(modality, values, bands):
    """The numbers of the description: reflectance x 10,000, 0 to 255, decibels, metres."""
    if modality == "RGB":
        return values / 0.25 * 255
    found = values * 1e4
    for n, band in enumerate(bands):
        if band in RANGES:
            low, high = RANGES[band]
            found[n] = low + values[n] * (high - low)
    return found


def embedded(weights, modality, values, bands):
    """Tokens (token, channel) of one modality before the blocks, patch by patch, in float64."""
    name, every, mean, std = MODALITIES[modality]
    every = every.split()
    chosen = [every.index(band) for band in bands]
    mean, std = (np.array(part.split(), float)[chosen, None, None] for part in (mean, std))
    image = (physical(modality, values.astype(float), bands) - mean) / std
    start = f"encoder_embeddings.untok_{name}@224"
    matrix = weights[f"{start}.proj.weight"]
    width = len(matrix)
    rows, columns = (n // 16 for n in image.shape[1:])
    places = weights[f"{start}.pos_emb"][0]
    if (rows, columns) != (14, 14):
        grid = torch.from_numpy(places.reshape(14, 14, width)).permute(2, 0, 1)[None]
        grid = torch.nn.functional.interpolate(
            grid, (rows, columns), mode="bicubic", align_corners=False
        )
        places = grid[0].permute(1, 2, 0).numpy().reshape(-1, width)
    tokens = []
    for y in range(rows):
        for x in range(columns):
            token = np.zeros(width)
            for i in range(16):
                for j in range(16):
                    for n, place in enumerate(chosen):
                        column = matrix[:, (i * 16 + j) * len(every) + place]
                        token += column * image[n, y * 16 + i, x * 16 + j]
            tokens.append(token + places[y * columns + x] + weights[f"{start}.mod_emb"][0, 0])
    return np.array(tokens)


def restated(size, images, layer=DEPTH, bands=None):
    """Tokens (channel, row, column) in float64, from values in [0, 1] by modality."""
    weights = {name: values.double().numpy() for name, values in terramind_weights(size).items()}
    width, _, heads = PUBLISHED[size]
    bands = bands or {name: MODALITIES[name][1].split() for name in images}
    states = np.concatenate(
        [embedded(weights, name, values, bands[name]) for name, values in images.items()]
    )

    def normal(values, key):
        centred = values - values.mean(1, keepdims=True)
        scaled = centred / np.sqrt(values.var(1, keepdims=True) + 1e-6)
        return scaled * weights[f"{key}.weight"]

    for n in range(layer):

        def linear(values, key, n=n):
            return values @ weights[f"encoder.{n}.{key}.weight"].T

        mixed = linear(normal(states, f"encoder.{n}.norm1"), "attn.qkv")
        query, key, value = np.split(mixed, 3, axis=1)
        seen, each = [], width // heads
        for h in range(heads):
            part = slice(h * each, (h + 1) * each)
            score = query[:, part] @ key[:, part].T / math.sqrt(each)
            share = np.exp(score - score.max(1, keepdims=True))
            seen.append(share / share.sum(1, keepdims=True) @ value[:, part])
        states = states + linear(np.concatenate(seen, 1), "attn.proj")
        inner = normal(states, f"encoder.{n}.norm2")
        gate = linear(inner, "mlp.fc1")
        gate = gate / (1 + np.exp(-gate))
        states = states + linear(gate * linear(inner, "mlp.fc3"), "mlp.fc2")
    final = normal(states, "encoder_norm")
    mean = final.reshape(len(images), -1, width).mean(0)
    rows, columns = (n // 16 for n in next(iter(images.values())).shape[1:])
    return mean.T.reshape(width, rows, columns)


def close(found, wanted):
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_sizes_are_the_published_ones(monkeypatch):
    monkeypatch.undo()
    found = {name: (v.width, v.depth, v.heads) for name, v in TERRAMIND.items()}
    assert found == PUBLISHED
    assert {v.patch for v in TERRAMIND.values()} == {16}


@pytest.mark.parametrize("size", PUBLISHED)
def test_tokens_of_every_size_are_those_of_the_restatement(tmp_path, size):
    values = pixels(2, 48, 32)
    backbone = opened(saved(tmp_path, size), "S1GRD", size=size, layers=[1, -1])
    found = backbone(torch.from_numpy(values)[:, None])[:, 0]
    wanted = [restated(size, {"S1GRD": values}, n) for n in (1, 2)]
    close(found, np.concatenate(wanted))
    assert backbone.stride == (1, 16, 16)
    assert len(set(backbone.channels)) == len(found) == 2 * PUBLISHED[size][0]


@pytest.mark.parametrize("modality", MODALITIES)
def test_tokens_of_every_modality_are_those_of_the_restatement(tmp_path, modality):
    values = pixels(COUNTS[MODALITIES[modality][0]], 32, 48)
    found = opened(saved(tmp_path), modality)(torch.from_numpy(values)[:, None])[:, 0]
    close(found, restated("tiny", {modality: values}))


def test_tokens_of_several_modalities_meet_in_the_blocks_and_are_averaged(tmp_path):
    values = pixels(15, 32, 32)
    parts = {"S2L2A": values[:12], "S1RTC": values[12:14], "DEM": values[14:]}
    path, block = saved(tmp_path), torch.from_numpy(values)[:, None]
    found = opened(path, *parts)(block)[:, 0]
    close(found, restated("tiny", parts))
    alone = opened(path, "S2L2A")(block[:12])[:, 0]
    assert (found - alone).abs().max() > 1e-2


def test_images_of_the_training_size_take_the_positions_of_the_file(tmp_path):
    path = saved(tmp_path)
    spec = BackboneSpec(
        name="terramind", arguments={**arguments_of(path, "S1GRD"), "overlap": None}
    )
    backbone = load_backbone(spec, spacing=(1.0, 10.0, 10.0), dimensions=2, bands=("VV", "VH"))
    assert [t + 2 * h for t, h in zip(backbone.tile[1:], backbone.halo[1:], strict=True)] == [
        224
    ] * 2
    values = pixels(2, 224, 224)
    wanted = restated("tiny", {"S1GRD": values})[:, 2:-2, 2:-2]
    close(backbone(torch.from_numpy(values)[:, None])[:, 0], wanted)


def test_bands_are_found_by_name_and_those_missing_are_said(tmp_path, caplog):
    values, path = pixels(4, 32, 32), saved(tmp_path)
    given = ("B08", "B04", "B03", "B02")
    with caplog.at_level(logging.WARNING, "parafovea"):
        backbone = opened(path, "S2L2A", bands=given)
    assert "the input has no B01, B05, B06, B07, B8A, B09, B11, B12" in caplog.text
    assert "of S2L2A are embedded by B02, B03, B04, B08 alone" in caplog.text
    found = backbone(torch.from_numpy(values)[:, None])[:, 0]
    wanted = restated("tiny", {"S2L2A": values[::-1]}, bands={"S2L2A": given[::-1]})
    close(found, wanted)
    caplog.clear()
    opened(path, "S1GRD", bands=("B02", "VH", "VV"))
    assert not caplog.records
    for bands, part in ((("B02",), "has B02"), ((), "has one unnamed channel")):
        with pytest.raises(ModelError, match=f"modality S1GRD takes VV, VH, but the input {part}"):
            opened(path, "S1GRD", bands=bands)


def test_bands_that_two_modalities_share_go_to_both(tmp_path):
    values = pixels(3, 32, 32)
    backbone = opened(saved(tmp_path), "S2L2A", "RGB", bands=("B04", "B03", "B02"))
    found = backbone(torch.from_numpy(values)[:, None])[:, 0]
    bands = {"S2L2A": ["B04", "B03", "B02"], "RGB": ["B04", "B03", "B02"]}
    close(found, restated("tiny", {"S2L2A": values, "RGB": values}, bands=bands))


def test_slices_do_not_depend_on_their_batch(tmp_path):
    path, block = saved(tmp_path), torch.rand(2, 3, 32, 32)
    one, many = (opened(path, "S1GRD", batch_size=n) for n in (1, 8))
    torch.testing.assert_close(one(block), many(block), rtol=1e-5, atol=1e-5)
    assert one.fingerprint == many.fingerprint


def test_what_tokens_depend_on_is_in_the_fingerprint(tmp_path):
    path = saved(tmp_path)
    changes = (
        {},
        {"layers": [1]},
        {"stride": 8},
        {"ranges": {"VV": [-30, 0], "VH": [-32, -5]}},
        {"bands": ("VV",)},
    )
    prints = {opened(path, "S1GRD", **more).fingerprint for more in changes}
    assert len({*prints, opened(path, "S1RTC").fingerprint}) == 6


def test_finer_strides_see_images_upsampled(tmp_path):
    values, path = torch.rand(2, 1, 32, 32), saved(tmp_path)
    found = opened(path, "S1GRD", stride=8)(values)
    larger = torch.nn.functional.interpolate(values[:, 0][None], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(found, opened(path, "S1GRD")(larger[0][:, None]))


def test_safetensors_of_the_same_tensors_give_the_same_tokens(tmp_path):
    block = torch.rand(2, 1, 32, 32)
    save_file(terramind_weights("tiny"), tmp_path / "a.safetensors")
    found = opened(tmp_path / "a.safetensors", "S1GRD")(block)
    assert torch.equal(found, opened(saved(tmp_path), "S1GRD")(block))


class Evil:
    def __reduce__(self):
        return print, ("ran",)


GRD = "encoder_embeddings.untok_sen1grd@224"


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"encoder_norm.weight": torch.ones(5)}, r"norm.weight is \(5,\) in the file, \(192,\) in"),
        ({"encoder.1.norm2.bias": torch.full((192,), math.nan)}, "192 of 192 numbers of encoder.1"),
        ({"encoder.2.norm1.bias": torch.ones(192)}, "encoder.2.norm1.bias is of a block that the"),
        ({f"{GRD}.proj.weight": torch.ones(192, 768)}, r"\(192, 768\) in the file, \(192, 512\)"),
        ({f"{GRD}.pos_emb": torch.ones(1, 256, 192)}, r"pos_emb is \(1, 256, 192\) in the file"),
        ({"encoder_norm.bias": 3}, "not a dictionary of tensors"),
        ({"evil": Evil()}, "cannot be read as tensors alone"),
    ],
)
def test_weights_that_do_not_fit_are_one_error(tmp_path, capsys, changes, part):
    path = saved(tmp_path, **changes)
    with pytest.raises(ModelError, match=part) as caught:
        opened(path, "S1GRD")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "ran" not in capsys.readouterr().out


def test_files_that_are_missing_cut_short_or_of_another_size_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere.pt does not exist: download"):
        opened(tmp_path / "nowhere.pt", "S1GRD")
    weights = terramind_weights("tiny")
    path = tmp_path / "part.pt"
    torch.save({k: v for k, v in weights.items() if "sen1grd" not in k}, path)
    with pytest.raises(ModelError, match=r"tensor .*sen1grd@224.* is missing: name the size"):
        opened(path, "S1GRD")
    opened(path, "S1RTC")
    path = saved(tmp_path)
    with pytest.raises(ModelError, match="does not fit the size base with modalities S1GRD"):
        opened(path, "S1GRD", size="base")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        opened(path, "S1GRD")
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ModelError, match=r"cannot be read|not a dictionary"):
        opened(path, "S1GRD")


BOTH = {"VV": [-25, 0], "VH": [-32, -5]}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"modalities": []}, "modalities"),
        ({"modalities": ["S1"]}, "S1GRD"),
        ({"modalities": ["S2L2A", "S2L2A"]}, "must be unique"),
        ({"modalities": ["S2L2A", "S2L1C"]}, "have the same bands"),
        ({"modalities": ["S1GRD", "S1RTC"], "ranges": BOTH}, "have the same bands"),
        ({"modalities": ["S1GRD"]}, "S1GRD needs ranges of VV, VH: the decibels that are 0 and 1"),
        ({"modalities": ["DEM"]}, "DEM needs ranges of DEM: the meters"),
        ({"modalities": ["S1GRD"], "ranges": {"VV": [-25, 0]}}, "needs ranges of VH"),
        ({"modalities": ["S1GRD"], "ranges": {**BOTH, "B02": [0, 1]}}, "ranges of B02"),
        ({"modalities": ["S1GRD"], "ranges": {**BOTH, "VV": [0, -25]}}, "lower number first"),
        ({"modalities": ["S1GRD"], "ranges": {**BOTH, "VV": [0, 1000]}}, "is not of decibels"),
        ({"modalities": ["RGB"]}, "needs white"),
        ({"modalities": ["S2L2A"], "white": 0.3}, "white is for modality RGB alone"),
        ({"modalities": ["S2L2A"], "size": "huge"}, "large"),
        ({"modalities": ["S2L2A"], "layers": [3]}, "2 blocks"),
        ({"modalities": ["S2L2A"], "tile": 20}, "multiple of stride 16"),
        ({"modalities": ["S2L2A"], "date": [2020, 5]}, "unknown argument 'date'"),
    ],
)
def test_arguments_that_cannot_be_are_named(arguments, part):
    stated = {"weights": "w.pt", "size": "tiny", **arguments}
    spec = BackboneSpec(name="terramind", arguments=stated)
    with pytest.raises(ModelError, match=part):
        feature_channels(spec, dimensions=2, bands=("VV", "VH"))


def test_features_are_counted_without_the_weights(tmp_path):
    stated = arguments_of("w.pt", "S1GRD", size="large", layers=[1, 2])
    spec = BackboneSpec(name="terramind", arguments=stated)
    assert feature_channels(spec, dimensions=2, bands=("VV", "VH")) == 2048
    grid = Grid(shape=(1, 32, 40), spacing=(1.0, 10.0, 10.0), unit="meter")
    view = ViewWork(grid, spec)
    assert view.values(2) == 2048 * 2 * 3
    path = saved(tmp_path)
    named = BackboneSpec(name="terramind", arguments=arguments_of(path, "S1GRD"))
    assert weight_files(named) == [str(path)]


def test_memory_follows_from_the_weights_and_the_tokens_of_a_pass(monkeypatch, tmp_path):
    monkeypatch.undo()
    grid = Grid(shape=(1, 32, 40), spacing=(1.0, 10.0, 10.0), unit="meter")

    def memory(size="base", modalities=("S1GRD",), weights="w.pt", **more):
        stated = arguments_of(weights, *modalities, size=size, **more)
        return ViewWork(grid, BackboneSpec(name="terramind", arguments=stated)).backbone_memory

    sizes = [memory(size) for size in PUBLISHED]
    assert sizes == sorted(sizes)
    # published: 86 million weights of the base, 303 million of the large encoder, 4 bytes each
    assert 0.8e9 < memory("large") - memory("base") < 1.1e9
    assert memory(batch_size=16) > memory()
    assert memory(modalities=("S1GRD", "DEM")) > memory()
    assert memory(tile=512) > memory()
    file = tmp_path / "w.pt"
    file.write_bytes(b"0")
    os.truncate(file, 3 * 10**9)
    assert memory(weights=file) > 7e9
