"""Every family of vision models: tokens, layers and statistics are those of transformers."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vit import MODELS, saved_model
from transformers import AutoModel, SiglipVisionModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from parafovea.backbones import feature_channels, load_backbone
from parafovea.backbones.image_statistics import default_statistics
from parafovea.backbones.vision_config import FAMILIES, vision_config
from parafovea.backbones.vision_weights import _CLASSES
from parafovea.errors import ModelError
from parafovea.settings.recipe import BackboneSpec

BANDS = ("B02", "B03", "B04")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return {name: saved_model(root / name, name) for name in MODELS}


def spec_of(folder, **arguments):
    return BackboneSpec(name="huggingface", arguments={"weights": str(folder), **arguments})


def opened(folder, bands=(), **arguments):
    spec = spec_of(folder, overlap=0, **arguments)
    return load_backbone(spec, spacing=(1.0, 1.0, 1.0), dimensions=2, bands=bands)


def image_of(rows, columns, colours=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (colours, rows, columns), np.uint8)


def by_hand(folder, name, pixels):
    """Hidden states (level, token or channel, ...) and the last ones, by transformers."""
    kind = SiglipVisionModel if name.startswith("siglip") else AutoModel
    network = kind.from_pretrained(folder).eval()
    more = {"interpolate_pos_encoding": True} if name[:3] in ("vit", "sig") else {}
    with torch.inference_mode():
        output = network(pixel_values=pixels, output_hidden_states=True, **more)
    return network, output


@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_those_of_transformers_with_its_own_processor(folders, name):
    patch, prefix = MODELS[name][1:]
    rows, columns = 3, 5
    image = image_of(rows * patch, columns * patch)
    usual = default_statistics(
        "siglip" if name.startswith("siglip") else name.split("_cl")[0], colours=3
    )
    processor = ViTImageProcessorPil(
        do_resize=False, image_mean=list(usual.mean), image_std=list(usual.std)
    )
    pixels = processor(Image.fromarray(image.transpose(1, 2, 0)), return_tensors="pt")
    _, output = by_hand(folders[name], name, pixels["pixel_values"])
    wanted = output.last_hidden_state[0, prefix:].T.reshape(-1, rows, columns)
    backbone = opened(folders[name], BANDS, colours=BANDS, gain=1)
    assert backbone.stride == (1, patch, patch)
    found = backbone(torch.from_numpy(image / np.float32(255))[:, None])[:, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dinov2_with_registers", "dinov3_vit", "vit", "siglip"])
def test_layers_are_normalized_outputs_of_blocks_one_after_the_other(folders, name):
    patch, prefix = MODELS[name][1:]
    image = torch.rand(1, 2 * patch, 3 * patch)
    backbone = opened(folders[name], layers=[1, -2, 3])
    family = "siglip" if name == "siglip" else name
    usual = default_statistics(family, 3)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (usual.mean, usual.std))
    network, output = by_hand(folders[name], name, (image[None] - mean) / std)
    norm = network.norm if name == "dinov3_vit" else None
    norm = norm or (network.post_layernorm if name == "siglip" else network.layernorm)
    with torch.inference_mode():
        states = [norm(output.hidden_states[n])[0, prefix:] for n in (1, 2, 3)]
    wanted = torch.cat([s.T.reshape(-1, 2, 3) for s in states])
    found = backbone(image)[:, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert len(set(backbone.channels)) == len(found) == 96
    assert feature_channels(spec_of(folders[name], layers=[1, -2, 3]), dimensions=2) == 96
    last = opened(folders[name])
    torch.testing.assert_close(found[64:], last(image)[:, 0], rtol=0, atol=1e-6)
    assert opened(folders[name], layers=[-1]).fingerprint == last.fingerprint
    assert backbone.fingerprint != last.fingerprint


def test_stages_of_a_convnext_lie_on_the_finest_of_them(folders):
    folder = folders["dinov3_convnext"]
    backbone = opened(folder, layers=[2, 4])
    assert backbone.stride == (1, 8, 8)
    assert feature_channels(spec_of(folder, layers=[2, 4]), dimensions=2) == 48
    image = torch.rand(1, 64, 96)
    usual = default_statistics("dinov3_convnext", 3)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (usual.mean, usual.std))
    _, output = by_hand(folder, "dinov3_convnext", (image[None] - mean) / std)
    deep = output.last_hidden_state[:, 1:].transpose(1, 2).reshape(1, 32, 2, 3)
    deep = torch.nn.functional.interpolate(deep, (8, 12), mode="bilinear")
    wanted = torch.cat([output.hidden_states[2], deep], 1)[0]
    torch.testing.assert_close(backbone(image)[:, 0], wanted, rtol=1e-5, atol=1e-5)
    # an image that the coarsest stage does not divide keeps all tokens of the finest
    assert backbone(image[:, :40, :72]).shape == (48, 1, 5, 9)


@pytest.mark.parametrize(
    "card",
    [
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
        {"image_mean": [0.5], "image_std": 0.25, "do_center_crop": False},
        {"rescale_factor": 1 / 127.5, "image_mean": [0.8] * 3, "image_std": [1.0] * 3},
        {"do_rescale": False, "image_mean": [120.0] * 3, "image_std": [60.0] * 3},
        {"do_normalize": False},
    ],
)
def test_a_card_is_honoured_as_by_the_processor(tmp_path, card):
    folder = saved_model(tmp_path / "vit", "vit")
    before = opened(folder, BANDS, colours=BANDS, gain=1).fingerprint
    (folder / "preprocessor_config.json").write_text(json.dumps(card))
    image = image_of(28, 42)
    full = {
        name: [float(v) for v in np.broadcast_to(value, 3)] if name.startswith("image") else value
        for name, value in card.items()
    }
    processor = SiglipImageProcessorPil(**{"do_resize": False, **full})
    pixels = processor(Image.fromarray(image.transpose(1, 2, 0)), return_tensors="pt")
    _, output = by_hand(folder, "vit", pixels["pixel_values"])
    wanted = output.last_hidden_state[0, 1:].T.reshape(-1, 2, 3)
    backbone = opened(folder, BANDS, colours=BANDS, gain=1)
    found = backbone(torch.from_numpy(image / np.float32(255))[:, None])[:, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert backbone.fingerprint != before


def test_a_card_in_the_file_of_a_processor_of_two_kinds_is_honoured(folders, tmp_path):
    folder = saved_model(tmp_path / "siglip", "siglip")
    plain = opened(folder).fingerprint
    card = {"image_mean": [0.4] * 3, "image_std": [0.2] * 3}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": card}))
    assert json.loads(opened(folder).fingerprint)["statistics"] == [[0.4] * 3, [0.2] * 3]
    assert opened(folder).fingerprint != plain


@pytest.mark.parametrize(
    ("card", "part"),
    [
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"do_sharpen": True}, "do_sharpen"),
        ({"rescale_offset": True}, "rescale_offset"),
        ({"image_mean": [0.5, 0.5]}, "3 numbers"),
        ({"image_mean": ["a"] * 3}, "3 numbers"),
        ({"image_std": [0.5, 0.0, 0.5]}, "not positive"),
        ({"rescale_factor": -1}, "rescale_factor"),
        ({"auto_map": {"AutoImageProcessor": "evil.Processor"}}, "auto_map"),
        ([1], "not a mapping"),
    ],
)
def test_what_a_card_asks_for_and_is_not_done_is_refused(tmp_path, card, part):
    folder = saved_model(tmp_path / "vit", "vit")
    (folder / "preprocessor_config.json").write_text(json.dumps(card))
    with pytest.raises(ModelError) as caught:
        opened(folder)
    message = str(caught.value)
    assert all(word in message for word in (part, "preprocessor_config.json", str(folder)))
    assert "\n" not in message


def test_steps_that_choose_pixels_and_assumed_statistics_are_said(tmp_path, caplog):
    folder = saved_model(tmp_path / "vit", "vit")
    card = {"do_resize": True, "size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(card))
    with caplog.at_level(logging.INFO, "parafovea"):
        opened(folder)
    assert "do_resize left out" in caplog.text
    assert "does not state image_mean and image_std" in caplog.text


def test_statistics_that_are_guessed_are_said_and_those_that_are_usual_are_not(folders, caplog):
    opened(folders["dinov2"])
    opened(folders["dinov3_vit"])
    assert not caplog.records
    opened(folders["siglip"])
    assert "no preprocessor_config.json" in caplog.text
    assert "(0.5, 0.5, 0.5)" in caplog.text


def test_grey_networks_take_one_channel_and_others_need_as_many_bands(tmp_path):
    grey = saved_model(tmp_path / "grey", "dinov2", num_channels=1)
    assert opened(grey)(torch.rand(1, 28, 28)).shape == (32, 1, 2, 2)
    assert opened(grey, BANDS, colours=["B03"])(torch.rand(3, 1, 28, 28)).shape == (32, 1, 2, 2)
    with pytest.raises(ModelError, match="takes 1 channels, but colours names B02, B03, B04"):
        opened(grey, BANDS, colours=BANDS)
    four = saved_model(tmp_path / "four", "dinov2", num_channels=4)
    with pytest.raises(ModelError, match="takes 4 channels, but the input has one"):
        opened(four)


def test_the_alias_gives_the_results_and_the_fingerprint_that_it_gave(folders):
    folder = folders["dinov3_vit"]
    spec = BackboneSpec(name="dinov3", arguments={"weights": str(folder), "overlap": 0})
    alias = load_backbone(spec, spacing=(1.0, 1.0, 1.0), dimensions=2)
    named = opened(folder)
    assert alias.fingerprint == named.fingerprint
    assert alias.channels == named.channels
    image = torch.rand(1, 28, 42)
    assert torch.equal(alias(image), named(image))
    stated = json.loads(alias.fingerprint)
    assert set(stated) == {"name", "sha256", "arguments"}
    assert stated["name"] == "dinov3"
    assert stated["arguments"] == {
        "planes": "xy",
        "stride": [1, 14, 14],
        "tile": 504,
        "overlap": 0,
    }


@pytest.mark.parametrize("name", MODELS)
def test_fingerprints_of_families_differ(folders, name):
    others = {opened(folders[other]).fingerprint for other in MODELS if other != name}
    assert opened(folders[name]).fingerprint not in others


@pytest.mark.parametrize("layers", [[0], [4], [-4], [1, 1], [1, -3]])
def test_a_layer_that_is_not_there_or_twice_is_named(folders, layers):
    with pytest.raises(ModelError, match=r"layers .*3 blocks"):
        opened(folders["vit"], layers=layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_silent_configurations_mean_what_transformers_takes_them_for(family):
    kind = _CLASSES[family][0]()
    found = vision_config({"model_type": family}, "here")
    if family == "dinov3_convnext":
        assert list(found.widths[1:]) == kind.hidden_sizes
        assert found.strides == (1, 4, 8, 16, 32)
    else:
        assert found.widths == (kind.hidden_size,) * (kind.num_hidden_layers + 1)
        assert found.multiple == kind.patch_size
        wanted = 0 if family == "siglip" else 1 + getattr(kind, "num_register_tokens", 0)
        assert found.prefix == wanted
    assert found.colours == kind.num_channels
