"""Exported models: other runtimes compute what torch does, and the file says what it is."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sample import tiny_model, tiny_recipe
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.errors import ConfigError, MissingExtraError, ModelError
from parafovea.models import export
from parafovea.models.export import TorchScriptFormat, export_model
from parafovea.models.folder import load_model
from parafovea.runtime.optional_packages import (
    import_onnxruntime,
    import_openvino,
    is_installed,
    older_torch_allowed,
)

CELL = Path(__file__).parents[2] / "resources" / "models" / "cell"


def needs(*packages: str) -> pytest.MarkDecorator:
    # Never `pytest.importorskip`: that would import OpenVINO with its telemetry.
    missing = [package for package in packages if not is_installed(package)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: not installed")


FORMATS = [
    pytest.param("torchscript", id="torchscript"),
    pytest.param("onnx", id="onnx", marks=needs("onnx", "onnxscript", "onnxruntime")),
    pytest.param("openvino", id="openvino", marks=needs("openvino")),
]


def run_alone(form: str, path: Path, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    """Run an exported model as somebody without Parafovea would."""
    arrays = {name: values.numpy() for name, values in inputs.items()}
    if form == "torchscript":
        with older_torch_allowed():
            network = torch.jit.load(str(path))
        return network(**inputs).numpy()
    if form == "onnx":
        session = import_onnxruntime().InferenceSession(str(path))
        return session.run(["probabilities"], arrays)[0]
    core = import_openvino().Core()
    network = core.compile_model(path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return network(arrays)["probabilities"]


def metadata_of(form: str, path: Path) -> dict[str, str]:
    if form == "torchscript":
        files = {"parafovea.json": ""}
        with older_torch_allowed():
            torch.jit.load(str(path), _extra_files=files)
        return json.loads(files["parafovea.json"])
    if form == "onnx":
        session = import_onnxruntime().InferenceSession(str(path))
        return session.get_modelmeta().custom_metadata_map
    network = import_openvino().Core().read_model(path / "model.xml")
    names = network.get_rt_info()["parafovea"]
    return {name: network.get_rt_info(["parafovea", name]).astype(str) for name in names}


def inputs_of(model: Path, shape: tuple[int, ...], count: int) -> dict[str, torch.Tensor]:
    spec, _ = load_model(model)
    generator = torch.Generator().manual_seed(5)
    channels = {"features": spec.input_channels, "context": spec.context_channels}
    return {
        name: torch.randn(count, n, *shape, generator=generator)
        for name, n in channels.items()
        if n
    }


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("fusion", ["attention", "none"])
def test_an_exported_model_gives_torchs_probabilities_at_any_batch_and_size(
    tmp_path: Path, form: Any, dimensions: int, fusion: str
) -> None:
    network = {"dimensions": dimensions, "base_channels": 4, "max_channels": 8, "fusion": fusion}
    recipe = tiny_recipe(dimensions=dimensions, context=fusion != "none", network=network)
    model = tiny_model(tmp_path / "model", recipe)
    difference = export_model(model, tmp_path / "exported", form=form)
    assert difference <= 1e-4
    spec, trained = load_model(model)
    for count, shape in ((1, (16, 16, 32)), (3, (32, 48, 16))):
        inputs = inputs_of(model, shape[-dimensions:], count)
        with torch.inference_mode():
            wanted = trained(*inputs.values()).softmax(dim=1).numpy()
        found = run_alone(form, tmp_path / "exported", inputs)
        assert wanted.std() > 0.01
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    facts = metadata_of(form, tmp_path / "exported")
    assert json.loads(facts["classes"]) == list(spec.classes)
    assert json.loads(facts["spacing"]) == [8, 8, 8]
    assert facts["unit"] == "nanometer"
    assert json.loads(facts["normalization"])["method"] == "percentile"
    assert facts["weights_sha256"] == spec.weights_sha256
    assert json.loads(facts["inputs"]) == list(inputs)
    assert facts["output"] == "probabilities"
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize("form", FORMATS)
def test_an_exported_detection_gives_one_heatmap_each(tmp_path: Path, form: Any) -> None:
    recipe = tiny_recipe(kind="detection", classes=("nodule",))
    model = tiny_model(tmp_path / "model", recipe)
    export_model(model, tmp_path / "exported", form=form)
    inputs = inputs_of(model, (16, 16, 32), 2)
    with torch.inference_mode():
        wanted = load_model(model)[1](*inputs.values()).sigmoid().numpy()
    found = run_alone(form, tmp_path / "exported", inputs)
    assert found.shape == (2, 1, 16, 16, 32)
    assert wanted.std() > 0.005
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert metadata_of(form, tmp_path / "exported")["kind"] == "detection"


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_exports_the_shipped_model_and_prints_the_difference(
    tmp_path: Path, form: str
) -> None:
    output = tmp_path / "cell"
    done = CliRunner().invoke(
        app, ["export-model", str(CELL), "--format", form, "--output", str(output)]
    )
    assert done.exit_code == 0, done.output
    assert "differ from torch in float32 by at most" in done.output
    assert output.exists()


@needs("onnx", "onnxscript", "onnxruntime")
def test_an_onnx_file_has_named_free_axes_and_no_paths_of_the_machine(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", tiny_recipe())
    export_model(model, tmp_path / "model.onnx", form="onnx")
    session = import_onnxruntime().InferenceSession(str(tmp_path / "model.onnx"))
    shapes = {each.name: each.shape for each in session.get_inputs()}
    assert shapes["features"][:2] == ["batch", 3]
    assert shapes["context"][:2] == ["batch", 2]
    assert all(isinstance(size, str) for size in shapes["features"][2:])
    assert b".py" not in (tmp_path / "model.onnx").read_bytes()


def test_a_torchscript_file_holds_no_paths_of_the_machine(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", tiny_recipe())
    export_model(model, tmp_path / "model.pt", form="torchscript")
    source = str(Path(export.__file__).parent).encode()
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    assert any(name.endswith(".py") for name in records)
    assert not [name for name, content in records.items() if source in content]


def test_a_file_that_computes_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tmp_path / "model", tiny_recipe(dimensions=2, context=False))
    output = tmp_path / "model.pt"
    output.write_bytes(b"as it was")

    class Wrong(TorchScriptFormat):
        def run(self, path: Path, inputs: Any) -> Any:
            return super().run(path, inputs) + np.float32(2e-4)

    monkeypatch.setitem(export.FORMATS, "torchscript", Wrong)
    with pytest.raises(ModelError, match=r"as torchscript differs from torch by 2.0e-04"):
        export_model(model, output, form="torchscript")
    assert output.read_bytes() == b"as it was"


@pytest.mark.parametrize(
    ("form", "package"), [("onnx", "onnxscript"), ("onnx", "onnxruntime"), ("openvino", "openvino")]
)
def test_a_missing_package_is_one_error_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any, package: str
) -> None:
    if package == "onnxruntime" and not is_installed("onnxscript"):
        monkeypatch.setitem(sys.modules, "onnxscript", sys)
    monkeypatch.setitem(sys.modules, package, None)
    model = tiny_model(tmp_path / "model", tiny_recipe(dimensions=2, context=False))
    with pytest.raises(MissingExtraError, match=rf'{package} is .* "parafovea\[{form}\]"'):
        export_model(model, tmp_path / "exported", form=form)
    assert not (tmp_path / "exported").exists()


def test_nothing_but_an_exported_model_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "precious").write_text("data")
    with pytest.raises(ConfigError, match="is a folder: give a file"):
        export_model(CELL, folder, form="torchscript")
    with pytest.raises(ConfigError, match="contains files other than"):
        export_model(CELL, folder, form="openvino")
    with pytest.raises(ConfigError, match="is a file: give a folder"):
        export_model(CELL, folder / "precious", form="openvino")
    assert (folder / "precious").read_text() == "data"
