"""Checkpoint files: found in the folders of runs, understood, and refused in one sentence."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from tiny_checkpoint import WINDOW, upstream_content, upstream_weights, write_checkpoint
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.errors import ModelError
from parafovea.models.folder import finite_problem
from parafovea.upstream.architecture import Facts, detect
from parafovea.upstream.checkpoint import find_checkpoint, foreign_format, read_checkpoint


def facts_of(tmp_path: Path, weights: dict[str, Any], **changes: Any) -> Facts:
    path = write_checkpoint(tmp_path / "best.pkl", upstream_content(weights, **changes))
    return detect(read_checkpoint(path))


@pytest.mark.parametrize("key", ["unet3d_state_dict", "model_state_dict", "state_dict", None])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod."])
def test_weights_are_found_under_any_of_their_keys(
    tmp_path: Path, key: str | None, wrapper: str
) -> None:
    weights = upstream_weights()
    stored = {wrapper + name: tensor for name, tensor in weights.items()}
    content = stored if key is None else {"epoch": 3, key: stored}
    found = read_checkpoint(write_checkpoint(tmp_path / "best.pkl", content)).weights
    assert list(found) == list(weights)
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def test_files_are_found_in_the_folders_of_runs(tmp_path: Path) -> None:
    runs = tmp_path / "dinov3_unet3d_vits16"
    for name in ("run_20251003_110551/stats_epoch_0001.pkl", "notes/best.txt"):
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_bytes(b"")
    old = runs / "run_20251003_110551" / "checkpoint_epoch_0020.pkl"
    old.write_bytes(b"")
    assert find_checkpoint(old) == old
    assert find_checkpoint(runs) == old
    (runs / "run_20251003_110551" / "checkpoint_epoch_0100.pkl").write_bytes(b"")
    assert find_checkpoint(old.parent).name == "checkpoint_epoch_0100.pkl"
    older = runs / "20241231_000000" / "model" / "best.pkl"
    older.parent.mkdir(parents=True)
    older.write_bytes(b"")
    assert find_checkpoint(older.parent.parent) == older
    assert find_checkpoint(tmp_path).name == "checkpoint_epoch_0100.pkl"  # the latest run
    (old.parent / "best.pkl").write_bytes(b"")
    assert find_checkpoint(tmp_path) == old.parent / "best.pkl"


@pytest.mark.parametrize("upsampling", [None, 2, 4, 8])
@pytest.mark.parametrize("context", [None, 32])
def test_a_checkpoint_says_what_it_is(
    tmp_path: Path, upsampling: int | None, context: int | None
) -> None:
    facts = facts_of(tmp_path, upstream_weights(context=context, upsampling=upsampling))
    assert facts.learned_upsampling == upsampling
    assert facts.context_channels == context
    assert (facts.classes, facts.base_channels, facts.input_channels) == (3, 4, 32)
    assert facts.orthogonal_planes
    assert not facts.half_precision
    assert (facts.window, facts.slice_size, facts.output) == (WINDOW, 32, "labels")
    assert facts.spacing == (8.0, 8.0, 8.0)
    assert facts.context_spacing == (None if context is None else (32.0, 32.0, 32.0))
    assert len(facts.assumed) == 1  # only the type of normalization


def test_layers_tell_what_configs_do_not(tmp_path: Path) -> None:
    weights = upstream_weights(channels=384, context=384, upsampling=4)
    half = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
    path = write_checkpoint(tmp_path / "best.pkl", half)
    facts = detect(read_checkpoint(path))
    assert (facts.context_channels, facts.learned_upsampling, facts.half_precision) == (
        384,
        4,
        True,
    )
    assert facts.model_id == "facebook/dinov3-vits16-pretrain-lvd1689m"
    said = "\n".join(facts.assumed)
    for word in (
        "base_resolution",
        "input_size",
        "dinov3_slice_size",
        "orthogonal",
        "context_scale",
    ):
        assert word in said


def test_context_layers_count_where_a_config_denies_them(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, upstream_weights(context=32), use_context_fusion=False)
    assert facts.context_channels == 32


def test_affinities_are_an_output_of_their_own(tmp_path: Path) -> None:
    offsets = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    facts = facts_of(
        tmp_path, upstream_weights(), output_type="affinities", affinity_offsets=offsets
    )
    assert (facts.output, facts.offsets) == ("affinities", offsets)


def test_a_source_finer_than_its_result_is_noticed(tmp_path: Path) -> None:
    facts = facts_of(
        tmp_path, upstream_weights(), min_resolution_for_raw=4, base_resolution=(16, 16, 16)
    )
    assert (facts.oversampling, facts.spacing) == (4, (16.0, 16.0, 16.0))


Change = Callable[[dict[str, Any]], None]


def other_context_channels(weights: dict[str, Any]) -> None:
    weights["context_proj2.weight"] = torch.zeros(8, 6, 1, 1, 1)


def missing_layers(weights: dict[str, Any]) -> None:
    del weights["dec1.0.weight"], weights["dec1.0.bias"]


def layers_left_over(weights: dict[str, Any]) -> None:
    weights["aux_head.weight"] = torch.zeros(2)


def not_a_number(weights: dict[str, Any]) -> None:
    weights["enc2.3.weight"] = torch.full((8, 8, 3, 3, 3), float("nan"))


def without_input(weights: dict[str, Any]) -> None:
    del weights["input_conv.weight"]


def flat(weights: dict[str, Any]) -> None:
    weights["input_conv.weight"] = torch.zeros(4, 32, 1, 1)


def odd_upsampling(weights: dict[str, Any]) -> None:
    weights["learned_upsample.12.weight"] = torch.zeros(4, 4, 3, 3, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            other_context_channels,
            r"best\.pkl: layer context_proj2\.weight has the shape \(8, 6, 1, 1, 1\), but must "
            r"have \(8, 4, 1, 1, 1\) \(it takes 6 channels, not 4\), in a .* with 32 input, 32 "
            r"context and 4 base channels .* use another",
        ),
        (missing_layers, r"2 layers are missing \(dec1\.0\.weight, dec1\.0\.bias\), in .* another"),
        (layers_left_over, r"1 layers are unexpected \(aux_head\.weight\), in .* use another"),
        (
            not_a_number,
            r"1728 of 1728 values of layer enc2\.3\.weight are NaN .*earlier checkpoint",
        ),
        (without_input, r"has no layer input_conv\.weight .*give a checkpoint of a DINOv3UNet3D"),
        (flat, r"input_conv\.weight has shape \(4, 32, 1, 1\), of a network with 2 dim.*a 3D UNet"),
        (odd_upsampling, r"last layer of learned_upsample has number 12 instead of 3, 6 or 9"),
    ],
)
def test_wrong_weights_are_one_error_with_layer_values_and_fix(
    tmp_path: Path, change: Change, message: str
) -> None:
    weights = upstream_weights(context=32)
    change(weights)
    with pytest.raises(ModelError, match=message) as caught:
        facts_of(tmp_path, weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "dinov3_unet"},
            r"model type 'dinov3_unet', but only 'dinov3_unet3d'.*give",
        ),
        (
            {"num_classes": 5},
            r"final_conv\.weight has 3 classes, but num_classes is 5: .*one run",
        ),
        ({"use_context_fusion": True}, r"use_context_fusion is True, but none of its 130 layers"),
        ({"output_type": "flows"}, r"output_type is 'flows', not one of labels, affinities"),
        ({"input_size": (16, 20, 16)}, r"input_size is \(16, 20, 16\), not multiples of 16"),
        ({"base_resolution": "fine"}, r"base_resolution is 'fine', not a number or three"),
        (
            {"min_resolution_for_raw": 3},
            r"min_resolution_for_raw is .*, not an integer fraction of",
        ),
        ({"model_id": None}, r"has no model_id, and no DINOv3 .* has the 32 channels .*give"),
    ],
)
def test_configs_that_cannot_be_are_refused_with_both_values(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        facts_of(tmp_path, upstream_weights(), **changes)


def test_a_statistics_file_is_refused_for_what_it_is(tmp_path: Path) -> None:
    content = upstream_content(upstream_weights())
    for key in [key for key in content if key.endswith("state_dict")]:
        del content[key]
    path = write_checkpoint(tmp_path / "run_20251003_110551" / "stats_epoch_0001.pkl", content)
    for asked in (path, path.parent, tmp_path):
        with pytest.raises(
            ModelError, match=r"stats_epoch_0001\.pkl contains training statistics .*give"
        ):
            find_checkpoint(asked)
    renamed = path.rename(tmp_path / "best.pkl")
    with pytest.raises(ModelError, match=r"no weights under unet3d_state_dict.*keys are .*epoch"):
        read_checkpoint(renamed)


def test_an_empty_run_folder_and_a_path_to_nothing_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "run_20251003_110551"
    empty.mkdir()
    with pytest.raises(
        ModelError, match=r"110551 contains neither model\.json nor best\.pkl .*give"
    ):
        find_checkpoint(empty)
    with pytest.raises(ModelError, match="nowhere does not exist: give a model folder"):
        find_checkpoint(tmp_path / "nowhere")


def test_a_file_that_is_no_dictionary_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.pkl", [1, 2])
    with pytest.raises(ModelError, match="contains list, not a dictionary with weights"):
        read_checkpoint(path)
    path = write_checkpoint(tmp_path / "best.pkl", {"model_config": [1]})
    with pytest.raises(ModelError, match="model_config is list, not a dictionary"):
        read_checkpoint(path)


def test_a_model_of_another_format_is_called_by_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/code/__torch__.py", "")
    save_file({"a": torch.zeros(2)}, tmp_path / "weights.pkl")
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file["a"] = 1
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph, producer_name="pytorch"), tmp_path / "graph.pkl")
    (tmp_path / "cut.onnx").write_bytes(b"")
    (tmp_path / "graph.xml").write_text('<?xml version="1.0"?><net/>')
    for name, what in {
        "script.pt": "a TorchScript program",
        "weights.pkl": "a file of weights alone",
        "keras.h5": "an HDF5 file",
        "graph.pkl": "an ONNX graph",
        "cut.onnx": "an ONNX graph",
        "graph.xml": "an OpenVINO graph",
    }.items():
        with pytest.raises(ModelError, match=f"{name} is {what}.*, which cannot be imported"):
            read_checkpoint(tmp_path / name)
    torch.save({"state_dict": {"a": torch.zeros(2)}}, tmp_path / "checkpoint.pt")
    assert foreign_format(tmp_path / "checkpoint.pt") is None


def test_an_array_that_a_config_repeats_is_written_out_a_few_times_only(tmp_path: Path) -> None:
    values = np.arange(4000)
    config = {"first": values, "all": [values] * 1000, "last": "here"}
    content = upstream_content(upstream_weights()) | {"training_config": config}
    found = read_checkpoint(write_checkpoint(tmp_path / "best.pkl", content)).training_config
    assert found["first"] == values.tolist()
    assert found["last"] == "here"
    assert sum(isinstance(item, list) for item in found["all"]) < 20
    assert found["all"][-1] == "array of (4000,)"


@pytest.mark.parametrize("hidden", ["\n", "\t", "\x1b[2J", "\u202e", "\u2028", "\x00"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_layer_cannot_forge_lines_of_a_message_by_its_name(
    tmp_path: Path, hidden: str, broken: bool
) -> None:
    weights = upstream_weights()
    name = f"enc1{hidden}error everything is fine"
    weights[name] = torch.full((3,), torch.nan if broken else 1.0)
    path = write_checkpoint(tmp_path / "best.pkl", upstream_content(weights))
    with pytest.raises(ModelError, match="has a layer with the control character") as caught:
        read_checkpoint(path)
    assert hidden not in str(caught.value)
    problem = finite_problem({name: torch.tensor([torch.nan])})
    assert hidden not in str(problem)
    done = CliRunner().invoke(app, ["import-model", str(path), "-o", str(tmp_path / "model")])
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert hidden not in line
    assert not (tmp_path / "model").exists()
