"""Model folders: whole, hashed, tensors only; and one readable error for each way to be wrong."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_sample import random_network, tiny_model, tiny_recipe, tiny_spec

from parafovea.errors import ModelError
from parafovea.models import folder as model_folder
from parafovea.models.folder import CARD, WEIGHTS, load_model, save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.runtime.file_hash import file_sha256


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model", tiny_recipe())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_weights_and_description_come_back(tmp_path: Path, dimensions: int) -> None:
    spec = tiny_spec(tiny_recipe(dimensions=dimensions), training={"seed": 3})
    network = random_network(FusedUNet.from_spec(spec))
    written = save_model(tmp_path / "model", spec, network)
    read, loaded = load_model(tmp_path / "model")
    assert read == written
    assert written == spec.model_copy(update={"weights_sha256": written.weights_sha256})
    assert written.weights_sha256 == file_sha256(tmp_path / "model" / WEIGHTS)
    assert not loaded.training
    for name, tensor in network.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == tensor.dtype
        # Kernels are kept in half precision, biases and statistics as they are.
        assert torch.equal(found, tensor.half().float() if tensor.ndim > 1 else tensor)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tiny_model(tmp_path / name, tiny_recipe())
    for file in (WEIGHTS, CARD):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_model_replaces_no_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kept").write_text("")
    spec = tiny_spec(tiny_recipe())
    with pytest.raises(ModelError, match=r"data is a folder without a model\.json that holds"):
        save_model(tmp_path / "data", spec, FusedUNet.from_spec(spec))
    assert (tmp_path / "data" / "kept").is_file()


def test_saving_replaces_a_folder_whole_and_keeps_it_when_it_fails(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "left over").write_text("")
    tiny_model(model, tiny_recipe(), name="second")
    assert {path.name for path in model.iterdir()} == {WEIGHTS, CARD}

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(model_folder, "write_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        tiny_model(model, tiny_recipe(), name="third")
    assert load_model(model)[0].name == "second"
    assert list(model.parent.iterdir()) == [model]


def _rewrite(model: Path, **changes: Any) -> None:
    card = json.loads((model / CARD).read_text())
    card.update(changes)
    (model / CARD).write_text(json.dumps(card))


def _replace_weights(model: Path, content: bytes) -> None:
    (model / WEIGHTS).write_bytes(content)
    _rewrite(model, weights_sha256=hashlib.sha256(content).hexdigest())


def _no_card(model: Path) -> None:
    (model / CARD).unlink()


def _no_weights(model: Path) -> None:
    (model / WEIGHTS).unlink()


def _no_json(model: Path) -> None:
    (model / CARD).write_text("{not json")


def _binary(model: Path) -> None:
    (model / CARD).write_bytes(b"\xff\xfe\x00")


def _list(model: Path) -> None:
    (model / CARD).write_text("[1, 2]")


def _unknown_key(model: Path) -> None:
    _rewrite(model, colour="blue")


def _wrong_value(model: Path) -> None:
    _rewrite(model, network={"dimensions": 4})


def _altered(model: Path) -> None:
    content = bytearray((model / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (model / WEIGHTS).write_bytes(content)


def _truncated(model: Path) -> None:
    _replace_weights(model, (model / WEIGHTS).read_bytes()[:-100])


def _wider(model: Path) -> None:
    _rewrite(model, network={"base_channels": 8, "max_channels": 8})


def _other_fusion(model: Path) -> None:
    _rewrite(model, network={"base_channels": 4, "max_channels": 8, "fusion": "concat"})


def _tensor_missing(model: Path) -> None:
    save_file({"input_conv.weight": torch.zeros(4, 3, 1, 1, 1)}, model / WEIGHTS)
    _rewrite(model, weights_sha256=file_sha256(model / WEIGHTS))


def _not_a_number(model: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    tensors["enc1.0.bias"][2] = float("nan")
    save_file(tensors, model / WEIGHTS)
    _rewrite(model, weights_sha256=file_sha256(model / WEIGHTS))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_card, r"model\.json is missing; use a folder"),
        (_no_weights, r"model\.safetensors is missing: copy both files"),
        (_no_json, r"model\.json is not JSON .*copy the model folder again"),
        (_binary, r"model\.json is not UTF-8 text"),
        (_list, r"model\.json is not a valid description of a model"),
        (_unknown_key, r"is not a valid description of a model: colour"),
        (_wrong_value, r"is not a valid description of a model: network\.dimensions"),
        (_altered, r"has the hash .* but model\.json states .* copy the folder again"),
        (_truncated, r"does not match the architecture"),
        (
            _wider,
            r"model\.safetensors does not match the architecture in model\.json: layer .* has the "
            r"shape \(4.*, but must have \(8.*; copy both files",
        ),
        (_other_fusion, r"does not match the architecture"),
        (
            _tensor_missing,
            r"does not match the architecture .*: \d+ layers are missing .* copy both",
        ),
        (_not_a_number, r"1 of 4 values of layer enc1\.0\.bias are NaN or infinite; copy both"),
    ],
)
def test_a_damaged_folder_is_refused_with_the_file_and_the_fix(
    model: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(model)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(model)
    assert str(model) in str(caught.value)


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_no_pickle_is_executed(model: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(trace))
    pickle.loads(bomb)  # noqa: S301
    assert trace.exists()
    trace.unlink()
    _replace_weights(model, bomb)
    with pytest.raises(ModelError, match="does not match"):
        load_model(model)
    torch.save({"state": Bomb(trace)}, tmp_path / "weights.pt")
    _replace_weights(model, (tmp_path / "weights.pt").read_bytes())
    with pytest.raises(ModelError, match="does not match"):
        load_model(model)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"base_channels": 1 << 30}}, "at most 65536 channels"),
        ({"input_channels": 1 << 40}, "a count must be at most"),
        ({"context_channels": 10**30}, "context_channels: Input should be less than"),
        ({"spacing": [float("nan"), 8, 8]}, "spacing.0: Input should be a finite number"),
        ({"spacing": [1e-300, 8, 8]}, "a voxel size must be from 1e-12"),
        ({"normalization": {"low": float("-inf")}}, "low: Input should be a finite number"),
        ({"name": "x\x1b[2J"}, r"contains the control character \\x1b"),
        ({"classes": ["background", "=1+1"]}, "is a formula"),
    ],
)
def test_a_description_of_sizes_and_names_that_cannot_be_is_refused(
    model: Path, changes: dict[str, Any], message: str
) -> None:
    card = model / "model.json"
    values = json.loads(card.read_text())
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    card.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=message):
        load_model(model)
