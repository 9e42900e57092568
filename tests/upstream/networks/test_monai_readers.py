"""Networks of MONAI by class and by bundle: what is taken from files, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.networks.nets as nets
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.errors import ModelError
from parafovea.models.loading import load_network
from parafovea.upstream.networks.importing import Imported, import_network
from parafovea.upstream.networks.monai_bundle import read_monai_bundle
from parafovea.upstream.networks.monai_class import read_monai_class
from parafovea.upstream.networks.stated import Stated

UNET: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}
PLACE: dict[str, Any] = {"spacing": (2, 1, 1), "unit": "millimeter", "window": (8, 8, 8)}


def unet(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = nets.UNet(**{**UNET, **changes}).eval()
    return network


def by_class(path: Path, **stated: Any) -> Imported:
    options = {"architecture": "UNet", "arguments": UNET, **PLACE, **stated}
    return import_network(
        path,
        path.parent / "model",
        reader=read_monai_class,
        stated=Stated.model_validate(options),
    )


@pytest.mark.parametrize(
    ("wrapped", "note"),
    [
        (lambda state: state, None),
        (lambda state: {f"module.{k}": v for k, v in state.items()}, "the prefix module. was"),
        (
            lambda state: {"state_dict": {f"net._orig_mod.{k}": v for k, v in state.items()}},
            "the prefix net._orig_mod. was taken off the names of all layers",
        ),
        (
            lambda state: {
                "epoch": 3,
                "model": {f"model.{k}": v for k, v in state.items()},
            },
            "the weights are those under the key model",
        ),
        (
            lambda state: {
                "state_dict": {
                    **{f"model.{k}": v for k, v in state.items()},
                    "loss_functions.0.weight": torch.ones(2),
                }
            },
            "1 tensors of losses, such as loss_functions.0.weight, were left out",
        ),
        (lambda state: {k: v.double() if v.ndim else v for k, v in state.items()}, None),
    ],
)
def test_wrappers_of_weights_are_taken_off_and_said(tmp_path, wrapped, note):
    network, path = unet(), tmp_path / "weights.pt"
    torch.save(wrapped(network.state_dict()), path)
    done = by_class(path)
    assert note is None or any(note in each for each in done.notes), done.notes
    _, found = load_network(tmp_path / "model")
    images = torch.rand(1, 1, 8, 8, 8)
    with torch.inference_mode():
        run = found.runner(torch.device("cpu"), torch.float32, "torch")  # type: ignore[union-attr]
        torch.testing.assert_close(run(images), network(images))


def test_safetensors_are_read_whatever_their_name(tmp_path):
    path = tmp_path / "weights.bin"
    save_file({k: v for k, v in unet().state_dict().items() if v.ndim}, path)
    assert by_class(path).spec.network.architecture == "UNet"


def test_a_class_has_to_be_named(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(unet().state_dict(), path)
    with pytest.raises(ModelError, match="holds weights alone: name the class with --network"):
        by_class(path, architecture=None)
    with pytest.raises(ModelError, match="3 dimensions by its arguments, not 2"):
        by_class(path, dimensions=2, window=(1, 8, 8))


def test_a_command_imports_weights_by_class(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(unet().state_dict(), path)
    command = [
        *("import-model", str(path), "-o", str(tmp_path / "own"), "--network", "monai.UNet"),
        *("--arguments", json.dumps(UNET), "--spacing", "2", "1", "1", "--unit", "millimeter"),
        *("--window", "8", "8", "8", "--zscore", "nonzero", "--axes", "xyz"),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "assumed class names background, class_1 (--class)" in " ".join(result.output.split())
    spec = json.loads((tmp_path / "own/model.json").read_text())
    assert spec["normalization"]["method"] == "zscore"
    assert spec["normalization"]["nonzero"] is True
    assert spec["network"]["axes"] == "xyz"
    refused = CliRunner().invoke(app, [*command, "--arguments", "[3]"])
    assert refused.exit_code == 1
    assert "--arguments is [3], not the arguments of a class by name" in refused.output


class _Command:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def test_pickles_with_other_names_are_refused_and_nothing_runs(tmp_path):
    ran, path = tmp_path / "ran", tmp_path / "weights.pt"
    state = {**unet().state_dict(), "more": _Command(ran)}
    torch.save(state, path)
    with pytest.raises(ModelError, match=r"requests \w+\.mkdir"):
        by_class(path)
    path.write_bytes(pickle.dumps({"state_dict": _Command(ran)}))
    with pytest.raises(ModelError, match=r"requests \w+\.mkdir"):
        by_class(path)
    assert not ran.exists()


def compose(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(steps)}


def step(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **arguments}


LOAD = (step("LoadImaged"), step("EnsureChannelFirstd"), step("Orientationd", axcodes="RAS"))
SPACING = step("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear")
RANGE = step("ScaleIntensityRanged", a_min=-57, a_max=164, b_min=0, b_max=1, clip=True)


def config_of(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a config in the form of those of MONAI's model zoo."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": "UNet", **UNET},
        "network": "$@network_def.to(@device)",
        "preprocessing": compose(*LOAD, *steps),
        "dataset": {"_target_": "Dataset", "transform": "@preprocessing"},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [16, 24, 32],
            "overlap": 0.25,
            "mode": "gaussian",
        },
        "postprocessing": compose(
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ),
        "initialize": ["$monai.utils.set_determinism(seed=123)"],
        **changes,
    }


def bundle(
    folder: Path,
    config: dict[str, Any],
    *,
    state: dict[str, Any] | None = None,
    as_yaml: bool = False,
    metadata: dict[str, Any] | None = None,
) -> Path:
    path = folder / "bundle"
    (path / "configs").mkdir(parents=True, exist_ok=True)
    (path / "models").mkdir(exist_ok=True)
    text = yaml.safe_dump(config) if as_yaml else json.dumps(config)
    (path / f"configs/inference.{'yaml' if as_yaml else 'json'}").write_text(text)
    if metadata is not None:
        (path / "configs/metadata.json").write_text(json.dumps(metadata))
    torch.save(state or unet().state_dict(), path / "models/model.pt")
    return path


def imported(path: Path, **stated: Any) -> Imported:
    return import_network(
        path,
        path.parent / "model",
        reader=read_monai_bundle,
        stated=Stated.model_validate(stated),
    )


@pytest.mark.parametrize("as_yaml", [False, True])
def test_a_bundle_states_network_voxels_values_and_window(tmp_path, as_yaml):
    config = config_of(SPACING, RANGE, step("EnsureTyped"))
    metadata = {
        "name": "Spleen",
        "network_data_format": {
            "outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen"}}}
        },
    }
    done = imported(bundle(tmp_path, config, as_yaml=as_yaml, metadata=metadata))
    spec = done.spec
    assert spec.spacing == (2.0, 1.5, 1.5)
    assert spec.window == (32, 24, 16)
    assert (spec.unit, spec.network.axes, spec.activation) == ("millimeter", "xyz", "softmax")
    assert spec.normalization.model_dump(exclude={"nonzero"}) == {
        "method": "window", "low": -57, "high": 164, "clip": True,
    }  # fmt: skip
    assert spec.classes == ("background", "spleen")
    assert spec.training["upstream"]["bundle"] == "bundle"
    notes = " ".join(done.notes)
    assert spec.network.orientation == "RAS"
    assert "overlap 0.25: set inference.overlap" in notes
    assert "mode gaussian: set inference.blending" in notes


#: Steps of values, with what comes out for a recipe: method, low, high, clip, mean, deviation.
VALUES: dict[str, tuple[list[dict[str, Any]], tuple[Any, ...]]] = {
    "range to -1 and 1": (
        [step("ScaleIntensityRanged", a_min=0, a_max=10, b_min=-1, b_max=1)],
        ("window", 0, 10, False, (0.5,), (0.5,)),
    ),
    "extremes": ([step("ScaleIntensityd")], ("percentile", 0, 100, True, (), ())),
    "percentiles": (
        [step("ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=0, b_max=2, clip=True)],
        ("percentile", 1, 99, True, (0,), (0.5,)),
    ),
    "constants": (
        [step("NormalizeIntensityd", subtrahend=100.0, divisor=20.0)],
        ("none", 0.5, 99.5, True, (100,), (20,)),
    ),
    "range and constants": (
        [RANGE, step("NormalizeIntensityd", subtrahend=0.5, divisor=0.25)],
        ("window", -57, 164, True, (0.5,), (0.25,)),
    ),
    # any scale before leaves mean and deviation as they are
    "extremes and z-score": (
        [step("ScaleIntensityd", minv=0, maxv=1), step("NormalizeIntensityd")],
        ("zscore", 0.5, 99.5, True, (), ()),
    ),
    "z-score and extremes": (
        [step("NormalizeIntensityd", nonzero=True), step("ScaleIntensityd", minv=-1, maxv=1)],
        ("percentile", 0, 100, True, (0.5,), (0.5,)),
    ),
}


@pytest.mark.parametrize("case", VALUES)
def test_steps_of_values_become_a_normalization(tmp_path, case):
    steps, wanted = VALUES[case]
    spec = imported(bundle(tmp_path, config_of(SPACING, *steps))).spec
    normal, network = spec.normalization, spec.network
    found = (normal.method, normal.low, normal.high, normal.clip, network.mean, network.deviation)
    assert found == wanted


def test_references_and_literals_are_followed(tmp_path):
    config = config_of(SPACING, RANGE)
    config |= {
        "displayable_configs": {"roi": ["@side", 24, "$@side"], "side": 16},
        "side": "@displayable_configs#side",
        "widths": "$(4, 8)",
        "network_def": {
            "_target_": "monai.networks.nets.Unet",
            **UNET,
            "channels": "@widths",
            "norm": "$monai.networks.layers.factories.Norm.BATCH",
            "_requires_": "$import os",
        },
    }
    config["inferer"]["roi_size"] = "@displayable_configs::roi"
    spec = imported(bundle(tmp_path, config)).spec
    assert spec.window == (16, 24, 16)
    assert spec.network.arguments["channels"] == [4, 8]
    assert spec.network.arguments["norm"] == "batch"


def test_what_has_to_be_evaluated_may_be_stated_instead(tmp_path):
    """As of a zoo's bundle whose voxel size depends on a switch."""
    sized = step("Spacingd", pixdim="@pixdim")
    config = config_of(sized, RANGE)
    config["pixdim"] = "$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]"
    config["network_def"]["channels"] = "$[2 ** n for n in (2, 3)]"
    path = bundle(tmp_path, config)
    arguments = {"channels": [4, 8]}
    with pytest.raises(ModelError, match=r"pixdim is the Python expression.*state --spacing Z Y X"):
        imported(path, arguments=arguments)
    with pytest.raises(
        ModelError, match=r"network_def#channels is the Python expression .*2 \*\* n"
    ):
        imported(path, spacing=(1.5, 1.5, 1.5))
    spec = imported(path, spacing=(1.5, 1.5, 1.5), arguments=arguments).spec
    assert spec.spacing == (1.5, 1.5, 1.5)
    assert spec.network.arguments["channels"] == [4, 8]


def test_one_channel_of_several_sigmoids_is_a_segmentation(tmp_path):
    """As of a zoo's bundle for brain tumours: four sequences, three overlapping regions."""
    network = {"in_channels": 4, "out_channels": 3}
    config = config_of(step("NormalizeIntensityd", nonzero=True, channel_wise=True))
    config["network_def"] |= network
    config["postprocessing"] = compose({"_target_": "Activationsd", "sigmoid": True})
    regions = {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}
    metadata = {
        "network_data_format": {
            "inputs": {"image": {"channel_def": {str(n): f"S{n}" for n in range(4)}}},
            "outputs": {"pred": {"channel_def": regions}},
        }
    }
    path = bundle(tmp_path, config, state=unet(**network).state_dict(), metadata=metadata)
    place = {"spacing": (1, 1, 1), "unit": "millimeter"}
    with pytest.raises(ModelError, match="3 channels of the output may be true together"):
        imported(path, **place)
    with pytest.raises(ModelError, match="does not state the voxel size"):
        imported(path, channels=(1,))
    spec = imported(path, channels=(1,), **place).spec
    assert spec.classes == ("background", "Whole_tumor")
    assert (spec.network.complement, spec.network.selected) == (True, (1,))
    assert spec.normalization.nonzero
    assert spec.bands == ("S0", "S1", "S2", "S3")
    spec = imported(path, kind="detection", **place).spec
    assert spec.classes == ("Tumor_core", "Whole_tumor", "Enhancing_tumor")


#: Configs that are wrong, by what the message has to name.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "step": (config_of(SPACING, step("Lambdad", func="$lambda x: x")), "#4 is Lambdad, a step"),
    "resized": (config_of(step("Resized", spatial_size=[96] * 3)), "#3 resizes whole images"),
    "twice": (config_of(RANGE, RANGE), "#4 normalizes values that were normalized before"),
    "clipped": (config_of(RANGE, step("NormalizeIntensityd")), "#4 normalizes values that were"),
    "missing reference": (
        config_of(SPACING, inferer={"roi_size": "@nowhere"}),
        "inferer#roi_size is @nowhere, but there is no nowhere",
    ),
    "circle": (config_of(SPACING, a="@b", b="@a", inferer={"roi_size": "@a"}), "refers to itself"),
    "file": (
        config_of(SPACING, inferer={"roi_size": "%train.json#roi"}),
        "inferer#roi_size is %train.json#roi, a reference in no known form",
    ),
    "whole images": (config_of(SPACING, inferer={"roi_size": [96, 96, -1]}), "not the voxels of a"),
    "no network": (config_of(SPACING, network_def="$build()"), "has no network under network_def"),
    "class": (config_of(SPACING, network_def={"_target_": "DiNTS"}), "'DiNTS' is not one of"),
    "argument": (
        config_of(SPACING, network_def={"_target_": "UNet", **UNET, "channels": "$os.getcwd()"}),
        r"network_def#channels is the Python expression \$os.getcwd\(\), and nothing in a bundle "
        "is evaluated",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_configs_that_cannot_be_taken_are_one_error(tmp_path, case):
    config, message = WRONG[case]
    with pytest.raises(ModelError, match=message):
        imported(bundle(tmp_path, config))
    assert not (tmp_path / "model").exists()


def test_bundles_that_are_not_whole_say_what_is_missing(tmp_path):
    path = bundle(tmp_path, config_of(SPACING, RANGE))
    weights = path / "models/model.pt"
    # a single file may have any name
    weights.rename(path / "models/tuned.pt")
    assert imported(path).spec.training["upstream"]["file"] == "tuned.pt"
    (path / "models/other.pt").touch()
    with pytest.raises(ModelError, match=r"has other\.pt, tuned\.pt, of which none is"):
        imported(path)
    for each in (path / "models").iterdir():
        each.unlink()
    with pytest.raises(ModelError, match=r"none of model.safetensors, .*large_files.yml"):
        imported(path)
    config = path / "configs/inference.json"
    config.write_text("{")
    with pytest.raises(ModelError, match=r"inference\.json is not JSON"):
        imported(path)
    config.write_text("[]")
    with pytest.raises(ModelError, match="has no keys and values"):
        imported(path)
    config.unlink()
    with pytest.raises(ModelError, match=r"has none of inference\.json, inference\.yaml"):
        imported(path)
    config.with_suffix(".yaml").write_text("a: &a [x, x]\nb: [*a, *a]\n")
    with pytest.raises(ModelError, match="has no network under"):
        imported(path)


def test_a_size_that_a_class_no_longer_takes_is_left_out_and_said(tmp_path):
    arguments = {
        "in_channels": 1,
        "out_channels": 2,
        "feature_size": 12,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 2, 2, 2],
    }
    torch.manual_seed(0)
    state = nets.SwinUNETR(**arguments).state_dict()
    config = config_of(SPACING, RANGE)
    config["network_def"] = {"_target_": "SwinUNETR", "img_size": 64, **arguments}
    config["inferer"]["roi_size"] = [64, 64, 64]
    done = imported(bundle(tmp_path, config, state=state), fixed_window=True)
    assert "img_size" not in done.spec.network.arguments
    assert any("img_size of SwinUNETR has no effect" in note for note in done.notes)
