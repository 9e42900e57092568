"""From a checkpoint to a model folder: what is kept, what is assumed, and where it came from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import WINDOW, upstream_content, upstream_weights, write_checkpoint
from typer.testing import CliRunner
from upstream_forward import upstream_forward

from parafovea.cli.main import app
from parafovea.errors import ModelError
from parafovea.models.folder import load_model
from parafovea.models.model_json import read_spec
from parafovea.upstream.importing import import_model, open_upstream


def test_a_folder_holds_the_weights_to_the_bit_and_the_hash_of_its_origin(tmp_path: Path) -> None:
    weights = upstream_weights(context=32, upsampling=2)
    path = write_checkpoint(tmp_path / "best.pkl", upstream_content(weights))
    import_model(path, tmp_path / "models" / "mito")
    spec, network = load_model(tmp_path / "models" / "mito")
    for name, tensor in weights.items():
        found = network.state_dict()[name]
        counter = name.endswith("batches_tracked")
        assert counter or torch.equal(found, tensor)
    assert (spec.name, spec.window, spec.raw_input) == ("mito", WINDOW, False)
    assert (spec.input_channels, spec.context_channels) == (32, 32)
    assert spec.network.learned_upsampling == 2
    assert spec.context is not None
    assert (spec.context.alignment, spec.context_ratio) == ("concentric", (4.0, 4.0, 4.0))
    assert spec.backbone.arguments["planes"] == "xy+xz+yz"
    assert spec.backbone.arguments["compatibility"]["slice_size"] == 32
    origin = spec.training["upstream"]
    assert origin["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (origin["file"], origin["epoch"]) == ("best.pkl", 7)
    assert origin["training_config"]["learning_rate"] == 1e-3
    assert str(tmp_path) not in (tmp_path / "models" / "mito" / "model.json").read_text()


def test_the_imported_folder_predicts_as_the_upstream_forward_pass(tmp_path: Path) -> None:
    weights = upstream_weights(context=32, upsampling=4)
    path = write_checkpoint(tmp_path / "best.pkl", upstream_content(weights))
    import_model(path, tmp_path / "model")
    _, network = load_model(tmp_path / "model")
    generator = torch.Generator().manual_seed(0)
    local, wide = torch.randn(2, 1, 32, 4, 4, 8, generator=generator)
    with torch.inference_mode():
        wanted = upstream_forward(weights, local, wide, size=WINDOW, upsampling=4)
        found = network(local, wide, size=WINDOW)
        direct = open_upstream(path).network(local, wide, size=WINDOW)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    assert torch.equal(direct, found)


def test_kernels_that_half_precision_holds_are_kept_in_it(tmp_path: Path) -> None:
    weights = upstream_weights()
    half = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
    for name, tensors in (("half", half), ("full", weights)):
        path = write_checkpoint(tmp_path / f"{name}.pkl", upstream_content(tensors))
        said = import_model(path, tmp_path / name)[-1]
        stored = load_file(tmp_path / name / "model.safetensors")
        kernels = [tensor.dtype for tensor in stored.values() if tensor.ndim > 1]
        if name == "half":
            assert said == "all 20 kernels are stored in float16, which represents them exactly"
            assert set(kernels) == {torch.float16}
        else:
            assert said.startswith("20 of 20 kernels are stored in float32, since float16 would")
            assert set(kernels) == {torch.float32}


def test_a_file_with_all_facts_assumes_only_names_and_the_norm(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.pkl", upstream_content(upstream_weights(context=32)))
    notes = import_model(path, tmp_path / "model", classes=["background", "mito", "er"])
    assert [note for note in notes if "assumed" in note] == []
    assert read_spec(tmp_path / "model").classes == ("background", "mito", "er")
    with pytest.raises(ModelError, match=r"2 class names were given \(a, b\), but .* 3 classes"):
        import_model(path, tmp_path / "model", classes=["a", "b"])


def test_affinities_are_named_by_their_offsets(tmp_path: Path) -> None:
    offsets = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    content = upstream_content(
        upstream_weights(), output_type="affinities", affinity_offsets=offsets
    )
    spec = open_upstream(write_checkpoint(tmp_path / "best.pkl", content)).spec
    assert spec.classes == ("affinity_1_0_0", "affinity_0_1_0", "affinity_0_0_1")


def test_the_command_says_what_was_assumed_and_what_the_folder_is_made_from(tmp_path: Path) -> None:
    content = upstream_content(upstream_weights(context=32), context_scale=None, input_size=None)
    path = write_checkpoint(tmp_path / "run_20251003_110551" / "best.pkl", content)
    output = tmp_path / "models" / "er"
    done = CliRunner().invoke(
        app, ["import-model", str(path.parent), "--output", str(output), "--spacing", "4", "4", "4"]
    )
    assert done.exit_code == 0, done.stderr
    for words in (
        "input_size is not in the file: a window of (128, 128, 128) assumed",
        "context_scale is not in the file: context 4 times coarser assumed",
        "class names are not in the file: background, class_1, class_2 assumed",
        "kernels are stored in float32",
        f"{output} is written from best.pkl, SHA-256",
        hashlib.sha256(path.read_bytes()).hexdigest(),
    ):
        assert words in done.output
    spec = read_spec(output)
    assert spec.spacing == (4.0, 4.0, 4.0)
    assert spec.context is not None
    assert spec.context.spacing == (16.0, 16.0, 16.0)


def test_the_command_refuses_in_one_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["import-model", str(tmp_path), "-o", str(tmp_path / "model")])
    assert done.exit_code == 1
    assert "contains neither model.json nor best.pkl" in done.stderr
    assert not (tmp_path / "model").exists()
