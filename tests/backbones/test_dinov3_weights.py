import hashlib
import json
import shutil

import huggingface_hub.constants
import pytest
import torch

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
    assert_refused(copy, "no weights in safetensors")


def test_a_folder_without_configuration_is_refused(copy):
    (copy / "config.json").unlink()
    assert_refused(copy, "no config.json")


def test_truncated_weights_are_refused(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:3000])
    assert_refused(copy, "damaged", "download it again")


def test_weights_of_another_size_are_refused(copy):
    configure(copy, hidden_size=64)
    assert_refused(copy, "does not match its config.json")


def test_weights_with_missing_tensors_are_refused_not_made_up(copy):
    configure(copy, num_hidden_layers=3)
    assert_refused(copy, "17 tensors are missing", "model.layer.2")


def test_another_kind_of_model_is_refused(copy):
    configure(copy, model_type="vit")
    assert_refused(copy, "'vit'", "dinov3_vit")


@pytest.mark.parametrize("text", ["{", '{"model_type": "dinov3_vit", "hidden_size": "wide"}'])
def test_an_unreadable_configuration_is_refused_before_any_weights(copy, text):
    (copy / "config.json").write_text(text)
    assert_refused(copy, "config")
    spec = BackboneSpec(name="dinov3", arguments={"weights": str(copy)})
    with pytest.raises(ModelError, match="config"):
        feature_channels(spec, dimensions=3)
