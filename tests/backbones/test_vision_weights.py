import hashlib
import json
import shutil

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from parafovea.backbones import feature_channels, load_backbone
from parafovea.errors import ModelError
from parafovea.settings.recipe import BackboneSpec


def load(weights, revision=None):
    spec = BackboneSpec(name="dinov3", revision=revision, arguments={"weights": str(weights)})
    return load_backbone(spec, spacing=(1.0, 1.0, 1.0), dimensions=3)


@pytest.fixture
def copy(tiny_vit, tmp_path):
    """A model folder that a test may damage."""
    return shutil.copytree(tiny_vit, tmp_path / "model")


def configure(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def assert_refused(weights, *parts, revision=None):
    with pytest.raises(ModelError) as caught:
        load(weights, revision)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in (str(weights), *parts)), message


def test_fingerprint_holds_the_hash_of_the_weights(tiny_vit):
    expected = hashlib.sha256((tiny_vit / "model.safetensors").read_bytes()).hexdigest()
    assert json.loads(load(tiny_vit).fingerprint)["sha256"] == expected


@pytest.mark.parametrize("revision", [None, "v1", "c" * 40])
def test_weights_of_the_hub_are_identified_by_their_commit(
    tiny_vit, tmp_path, monkeypatch, revision
):
    commit = "c" * 40
    cached = tmp_path / "models--owner--name"
    shutil.copytree(tiny_vit, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    for name in ("main", "v1"):
        (cached / "refs" / name).write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    found = json.loads(load("owner/name", revision).fingerprint)
    assert (found["weights"], found["revision"]) == ("owner/name", commit)
    assert "statistics" not in found
    card = {"image_mean": [0.43, 0.411, 0.296], "image_std": [0.213, 0.156, 0.143]}
    place = cached / "snapshots" / commit / "preprocessor_config.json"
    place.write_text(json.dumps(card))
    found = json.loads(load("owner/name", revision).fingerprint)
    assert found["statistics"] == [card["image_mean"], card["image_std"]]


@pytest.mark.parametrize("name", ["nowhere/at/all", "/nowhere", "./nowhere", "nowhere"])
def test_a_missing_folder_says_how_to_get_weights(name):
    assert_refused(name, f"folder {name} does not exist", "licence", "hf download", "weights")


def test_a_hub_name_out_of_reach_says_how_to_get_weights(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert_refused(
        "facebook/no-such-model", "at revision abc", "hub", "licence", "hf download", revision="abc"
    )


def test_pickled_weights_are_never_read(copy):
    (copy / "model.safetensors").unlink()
    torch.save({"norm.bias": torch.zeros(32)}, copy / "pytorch_model.bin")
    assert_refused(copy, "no weights in safetensors", "pytorch_model.bin, a pickle")


def test_a_folder_without_configuration_is_refused(copy):
    (copy / "config.json").unlink()
    assert_refused(copy, "no config.json")


def test_truncated_weights_are_refused(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:3000])
    assert_refused(copy, "damaged", "download it again")


def test_weights_of_another_size_are_refused_with_layer_and_both_shapes(copy):
    configure(copy, hidden_size=64)
    assert_refused(copy, "does not match its config.json", "cls_token: (1, 1, 32)", "(1, 1, 64) by")


def test_blocks_beyond_those_of_the_configuration_are_refused(copy):
    configure(copy, num_hidden_layers=1)
    assert_refused(copy, "blocks that it does not have", "layer.1.")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(copy, wrong):
    tensors = load_file(copy / "model.safetensors")
    tensors["norm.bias"][3] = wrong
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    assert_refused(copy, "1 of 32 numbers of norm.bias are not finite")


def test_code_beside_the_weights_is_refused_and_not_run(copy, tmp_path):
    (copy / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    configure(copy, auto_map={"AutoModel": "modeling_evil.Evil"})
    assert_refused(copy, "auto_map", "modeling_evil.Evil", "never run")
    assert not (tmp_path / "ran").exists()


def test_quantized_weights_are_refused(copy):
    configure(copy, quantization_config={"quant_method": "gptq"})
    assert_refused(copy, "quantization_config")


def test_what_a_configuration_says_of_attention_kernels_is_not_followed(copy):
    plain = load(copy)
    configure(copy, attn_implementation="someone/kernels", _attn_implementation="someone/kernels")
    block = torch.rand(1, 144, 144)
    assert torch.equal(load(copy)(block), plain(block))


def test_weights_with_missing_tensors_are_refused_not_made_up(copy):
    configure(copy, num_hidden_layers=3)
    assert_refused(copy, "17 tensors are missing", "model.layer.2")


def test_another_kind_of_model_is_refused(copy):
    configure(copy, model_type="vit")
    assert_refused(copy, "'vit'", "dinov3_vit")


@pytest.mark.parametrize("kind", ["bert", "clip", "swin", None, ["vit"]])
def test_another_architecture_is_refused_with_those_allowed(copy, kind):
    configure(copy, model_type=kind)
    spec = BackboneSpec(name="huggingface", arguments={"weights": str(copy)})
    for ask in (load_backbone, feature_channels):
        more = {"spacing": (1.0, 1.0, 1.0)} if ask is load_backbone else {}
        with pytest.raises(ModelError, match=r"of type .* not 'dinov2' or .* or 'siglip'"):
            ask(spec, dimensions=3, **more)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"hidden_act": "someone/activation"}, "someone/activation"),
        ({"num_attention_heads": 3}, "num_attention_heads"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers 1000000000"),
        ({"patch_size": 0}, "patch_size 0"),
        ({"num_channels": "three"}, "num_channels 'three'"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps"),
        ({"hidden_size": True}, "hidden_size True"),
    ],
)
def test_sizes_that_cannot_be_are_named(copy, changes, part):
    configure(copy, **changes)
    assert_refused(copy, "config.json", part, "download it again")


def test_patches_and_images_that_are_no_squares_are_refused(copy):
    configure(copy, patch_size=[16, 8])
    assert_refused(copy, "patch_size [16, 8] is not a square")


@pytest.mark.parametrize("text", ["{", '{"model_type": "dinov3_vit", "hidden_size": "wide"}'])
def test_an_unreadable_configuration_is_refused_before_any_weights(copy, text):
    (copy / "config.json").write_text(text)
    assert_refused(copy, "config")
    spec = BackboneSpec(name="dinov3", arguments={"weights": str(copy)})
    with pytest.raises(ModelError, match="config"):
        feature_channels(spec, dimensions=3)
