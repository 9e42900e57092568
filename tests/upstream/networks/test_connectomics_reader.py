"""Checkpoints of PyTorch Connectomics: the architecture of the YAML, averaged weights preferred."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.networks.nets as nets
import pytest
import torch
import yaml
from torch import Tensor, nn
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.errors import ModelError
from parafovea.models.loading import load_network
from parafovea.upstream.networks.connectomics import connectomics_reader
from parafovea.upstream.networks.importing import Imported, import_network
from parafovea.upstream.networks.stated import Stated

MONAI = {"filters": [4, 8], "num_res_units": 1, "norm": "group", "num_groups": 2}
MODEL: dict[str, Any] = {
    "arch": {"type": "monai_unet"},
    "in_channels": 1,
    "out_channels": 2,
    "input_size": [8, 16, 16],
    "monai": MONAI,
}


def unet(seed: int = 0) -> nn.Module:
    """Return the network that the project builds of `MODEL`."""
    torch.manual_seed(seed)
    network: nn.Module = nets.UNet(
        spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,),
        num_res_units=1, kernel_size=3, norm=("group", {"num_groups": 2}), dropout=0.0,
    ).eval()  # fmt: skip
    return network


def checkpoint(network: nn.Module, *, prefix: str = "model.model.", **more: Any) -> dict[str, Any]:
    """Return a checkpoint as Lightning writes one, with a loss that was left in it."""
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    return {
        "state_dict": {**state, "loss_functions.0.weight": torch.ones(1)},
        "epoch": 7,
        "pytc_metadata": {"format_version": 2, "model_arch": "monai_unet", "config_hash": "c0ffee"},
        "hyper_parameters": {},
        **more,
    }


def averages(network: nn.Module) -> dict[str, Any]:
    """Return callbacks whose averaged weights are those of a network."""
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    return {
        "ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.5)},
        "EMAWeightsCallback{'decay': 0.999}": {"ema_state": state, "updates": 12},
    }


def imported(
    folder: Path, content: dict[str, Any], config: dict[str, Any] | None = None, **stated: Any
) -> Imported:
    path, text = folder / "last.ckpt", folder / "config.yaml"
    torch.save(content, path)
    text.write_text(yaml.safe_dump({"model": MODEL} if config is None else config))
    options = {"spacing": (30, 8, 8), "unit": "nanometer", **stated}
    return import_network(
        path,
        folder / "model",
        reader=connectomics_reader(text),
        stated=Stated.model_validate(options),
    )


def scores(folder: Path, images: Tensor) -> Tensor:
    _, network = load_network(folder / "model")
    run = network.runner(torch.device("cpu"), torch.float32, "torch")  # type: ignore[union-attr]
    with torch.inference_mode():
        result: Tensor = run(images)
    return result


@pytest.mark.parametrize("prefix", ["model.model.", "model._orig_mod.model.", "model."])
def test_a_checkpoint_predicts_as_its_network(tmp_path, prefix):
    done = imported(tmp_path, checkpoint(unet(), prefix=prefix))
    images = torch.rand(1, 1, 8, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(scores(tmp_path, images), unet()(images))
    assert done.spec.window == (8, 16, 16)
    assert done.spec.training["upstream"]["config_hash"] == "c0ffee"
    assert any("no averaged weights (EMA)" in note for note in done.notes)


def test_averaged_weights_are_preferred_and_said(tmp_path):
    content = checkpoint(unet(), callbacks=averages(unet(seed=5)))
    done = imported(tmp_path, content)
    images = torch.rand(1, 1, 8, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(scores(tmp_path, images), unet(seed=5)(images))
    assert any("averaged ones (EMA) of EMAWeightsCallback" in note for note in done.notes)


def test_configs_of_all_versions_name_the_architecture(tmp_path):
    content = checkpoint(unet())
    for config in (
        {"default": {"model": MODEL}, "train": {"model": {}}},
        {"model": {**MODEL, **MONAI, "arch": None, "architecture": "monai_unet", "monai": None}},
    ):
        assert imported(tmp_path, content, config).spec.network.arguments["channels"] == [4, 8]


def test_fewer_than_six_levels_of_a_basic_unet_repeat_the_last(tmp_path):
    torch.manual_seed(0)
    network = nets.BasicUNet(features=(4, 8, 8, 8, 8, 8), act="relu", norm="batch")
    model = {
        **MODEL,
        "arch": {"type": "monai_basic_unet3d"},
        "input_size": [32, 32, 32],
        "monai": {"filters": [4, 8]},
    }
    content = checkpoint(network)
    content["pytc_metadata"]["model_arch"] = "monai_basic_unet3d"
    spec = imported(tmp_path, content, {"model": model}).spec
    assert spec.network.arguments["features"] == [4, 8, 8, 8, 8, 8]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"arch": {"type": "mednext"}}, "architecture mednext is not one of MONAI"),
        ({"arch": {"type": "rsunet"}}, "architecture rsunet is not one of MONAI"),
        ({"arch": {"type": "nnunet"}}, "architecture nnunet is not one of MONAI"),
        (
            {"arch": {"type": "other"}},
            "architecture 'other' is not known: it is one of monai_basic",
        ),
        ({"arch": {"profile": "monai_unet"}}, "states no model.arch.type"),
        ({"monai": {**MONAI, "upsample_mode": "nontrainable"}}, "a UNet that is not MONAI's own"),
        ({"monai": {**MONAI, "filters": [4, 16]}}, "has the shape .* must have"),
        ({"arch": {"type": "monai_unetr"}}, "is of the architecture monai_unet, but .*monai_unetr"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(tmp_path, model, message):
    with pytest.raises(ModelError, match=message):
        imported(tmp_path, checkpoint(unet()), {"model": {**MODEL, **model}})


def test_a_command_asks_for_the_config(tmp_path):
    imported(tmp_path, checkpoint(unet()))
    command = ["import-model", str(tmp_path / "last.ckpt"), "-o", str(tmp_path / "own")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "does not state its network: give the YAML" in " ".join(result.output.split())
    place = ["--spacing", "30", "8", "8", "--unit", "nanometer"]
    config = ["--config", str(tmp_path / "config.yaml")]
    result = CliRunner().invoke(app, [*command, *place, *config])
    assert result.exit_code == 0, result.output


class Config:
    """A class of the training, as earlier versions pickled their settings."""


def test_a_checkpoint_with_pickled_settings_is_refused(tmp_path):
    with pytest.raises(ModelError, match="nothing was executed"):
        imported(tmp_path, checkpoint(unet(), hyper_parameters={"cfg": Config()}))
