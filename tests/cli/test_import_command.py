"""The command that imports networks: known by content, what is assumed is said, errors are one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from graph_files import seeded_unet, write_exported, write_onnx, write_torchscript
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner, Result

from parafovea.cli.main import app
from parafovea.errors import ModelError
from parafovea.upstream.networks.file_kinds import file_kind

SHAPE = (2, 1, 8, 16, 16)
SIZE = ("--spacing", "8", "8", "8", "--unit", "nanometer")
WINDOW = ("--window", "8", "16", "16")


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(tmp_path_factory.mktemp("unet") / "unet.onnx", seeded_unet(), SHAPE)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["import-model", *map(str, arguments)])


def refused(output: Path, *arguments: str | Path) -> str:
    """Require one error, and nothing written; return its text."""
    done = run(*arguments, "-o", output)
    assert done.exit_code == 1, done.output
    assert not output.exists()
    lines = done.output.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_what_was_found_and_assumed_and_the_next_step_are_printed(
    unet: Path, tmp_path: Path
) -> None:
    output = tmp_path / "unet"
    done = run(unet, "-o", output, *SIZE, *WINDOW)
    assert done.exit_code == 0, done.output
    for text in (
        "assumed a segmentation (--kind)",
        "assumed class names background, class_1, class_2 (--class)",
        "assumed activation softmax",
        "assumed normalization",
        "8 x 16 x 16, or multiples of (2, 2, 2)",
        "SHA-256",
        f"tasks:\n  unet:\n    model: {output}",
    ):
        assert text in done.output
    card = json.loads((output / "model.json").read_text())
    assert len(card["training"]["upstream"]["assumed"]) == 4
    assert card["training"]["upstream"]["file"] == "unet.onnx"


def test_what_options_say_is_not_assumed(unet: Path, tmp_path: Path) -> None:
    output = tmp_path / "cells"
    done = run(
        *(unet, "-o", output, *SIZE, *WINDOW, "--kind", "segmentation", "--activation", "softmax"),
        *("--class", "background", "--class", "cell", "--channel", "0", "--channel", "2"),
        *("--low", "10", "--high", "200", "--no-clip", "--mean", "0.5", "--deviation", "0.25"),
        *("--no-complement", "--margin", "0", "0", "0", "--stride", "1", "1", "1"),
        *("--multiple-of", "2", "2", "2", "--no-fixed-window", "--entry", "scores"),
    )
    assert done.exit_code == 0, done.output
    assert "assumed" not in done.output
    card = json.loads((output / "model.json").read_text())
    network = card["network"]
    assert card["classes"] == ["background", "cell"]
    assert card["normalization"] == {
        "method": "window",
        "low": 10,
        "high": 200,
        "clip": False,
        "nonzero": False,
    }
    assert (network["channels"], network["entry"]) == ([0, 2], "scores")
    assert (network["mean"], network["deviation"]) == ([0.5], [0.25])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (WINDOW, "does not state the voxel size .* give --spacing Z Y X and --unit"),
        ((*SIZE, *WINDOW, "--low", "1"), "--low and --high are the two ends of one window"),
        (
            (*SIZE, *WINDOW, "--low", "1", "--high", "2", "--no-normalization"),
            "exclude each other: give one",
        ),
        ((*SIZE, *WINDOW, "--low", "2", "--high", "1"), r"low \(2.0\) must be smaller"),
        ((*SIZE, *WINDOW, "--band", "T1", "--band", "T2"), "takes 1 channels, but 2 are named"),
        ((*SIZE, *WINDOW, "--class", "a", "--class", "b"), "the output has 3 channels, but 2 of"),
        ((*SIZE, *WINDOW, "--channel", "7"), "channels are 7, but the output has 3"),
        ((*SIZE, *WINDOW, "--entry", "nothing"), "has no output 'nothing': its outputs are 0"),
        ((*SIZE, *WINDOW, "--kind", "magic"), "--kind: .*kind 'magic' is not known"),
        ((*SIZE, *WINDOW, "--deviation", "0"), "--deviation.*greater than 0"),
        ((*SIZE, *WINDOW, "--dimensions", "2"), "3 dimensions, but --dimensions is 2"),
        ((*SIZE, "--window", "8", "17", "16"), "must be a multiple|which is not the window"),
        ((*SIZE, *WINDOW, "--stride", "2", "2", "2", "--margin", "0", "0", "0"), "--stride"),
        ((*SIZE[:4], "--unit", "parsec", *WINDOW), "unknown unit 'parsec'"),
        ((*SIZE, *WINDOW, "--weights", "dinov3"), "to which --weights does not apply"),
    ],
)
def test_options_that_do_not_fit_are_one_error(
    unet: Path, tmp_path: Path, options: tuple[str, ...], match: str
) -> None:
    import re

    assert re.search(match, refused(tmp_path / "model", unet, *options))


def test_options_of_networks_do_not_apply_to_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "best.pkl").write_bytes(b"\x80\x04N.")
    text = refused(tmp_path / "model", tmp_path / "best.pkl", "--trust", "--window", "8", "8", "8")
    assert "to which --window does not apply" in text


def test_torchscript_needs_trust(tmp_path: Path) -> None:
    path = write_torchscript(tmp_path / "a.pt", nn.Conv3d(1, 2, 1), SHAPE)
    assert "give --trust" in refused(tmp_path / "model", path, *SIZE, *WINDOW)
    done = run(path, "-o", tmp_path / "model", *SIZE, *WINDOW, "--trust")
    assert done.exit_code == 0, done.output
    assert "note TorchScript is code" in done.output


def test_a_folder_of_other_things_stays(unet: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine")
    done = run(unet, "-o", tmp_path / "other", *SIZE, *WINDOW)
    assert done.exit_code == 1
    assert "holds other things" in done.output
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_files_are_known_by_their_content(unet: Path, tmp_path: Path) -> None:
    found = {}
    for name in ("network.pt", "network.onnx", "x"):
        (tmp_path / name).write_bytes(unet.read_bytes())
        found[name] = file_kind(tmp_path / name)
    assert set(found.values()) == {"onnx"}
    conv = nn.Conv3d(1, 2, 1)
    assert file_kind(write_torchscript(tmp_path / "a.onnx", conv, SHAPE)) == "torchscript"
    assert file_kind(write_exported(tmp_path / "b.onnx", conv, SHAPE, free=None)) == "exported"
    torch.save(conv.state_dict(), tmp_path / "new.pt")
    torch.save(conv.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert file_kind(tmp_path / "new.pt") == file_kind(tmp_path / "old.pt") == "checkpoint"
    save_file(conv.state_dict(), tmp_path / "weights.onnx")
    assert file_kind(tmp_path / "weights.onnx") == "safetensors"
    assert file_kind(tmp_path) == "run"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/inference.json").write_text("{}")
    assert file_kind(tmp_path) == "bundle"


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x08", b"\x08\x08\x3a", b"\xff" * 100, bytes(100)]
)
def test_other_files_are_of_no_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ModelError, match="is of no known kind: give an ONNX file"):
        file_kind(tmp_path / "file")


def test_a_missing_file_and_an_empty_archive(tmp_path: Path) -> None:
    import zipfile

    with pytest.raises(ModelError, match="does not exist"):
        file_kind(tmp_path / "none")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(ModelError, match="is a zip file without a network"):
        file_kind(tmp_path / "a.zip")
