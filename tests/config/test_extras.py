"""What a project needs beside what every run needs is found before any job."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.config import read_project
from parafovea.config.extras import require_packages
from parafovea.errors import MissingExtraError
from parafovea.runtime.optional_packages import EXTRAS, RUN


@pytest.fixture
def core(monkeypatch, project_folder):
    """Return the project folder, where only what every run needs is installed."""
    for name in EXTRAS:
        if RUN not in EXTRAS[name]:
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(project_folder.path)
    return project_folder


def needed(folder) -> str:
    folder.write()
    with pytest.raises(MissingExtraError) as caught:
        require_packages(read_project(folder.path / "config" / "config.yaml"))
    return str(caught.value)


def test_volumes_and_the_filterbank_need_nothing_but_the_core(core):
    require_packages(read_project(core.path / "config" / "config.yaml"))


def test_the_engine_openvino_needs_its_extra(core):
    core.config["tasks"]["cell"]["inference"] = {"engine": "openvino"}
    assert needed(core).endswith('run `pip install "parafovea[openvino]"`')


def test_dicom_objects_need_their_extra_where_they_are_written_alone(core):
    core.config["tasks"]["cell"]["dicom_output"] = True
    text = needed(core)
    packages = "highdicom, httpx, pydicom, pynetdicom, python_multipart"
    assert f"has the stage export_dicom ({packages})" in text
    assert text.endswith('run `pip install "parafovea[pacs]"`')


def test_a_task_that_trains_needs_its_extra(core, recipe):
    core.config["tasks"]["cell"] |= {
        "model": "models/new",
        "training": {"recipe": recipe, "samples": ["a"], "validation": ["b"], "steps": 2},
    }
    text = needed(core)
    assert "task 'cell' trains models/new (einops, lightning, monai)" in text
    assert text.endswith('run `pip install "parafovea[train]"`')


def test_formats_and_backbones_of_all_samples_are_one_error_with_one_command(core, recipe):
    (core.path / "scan.zip").write_bytes(b"PK\x03\x04")
    for name in ("c", "d"):
        core.rows.append([name, "cell", "scan.zip", "", "spacing=16,16,16 unit=nanometer"])
    core.rows.append(["e", "cell", "https://example.org/a.ome.zarr", "", ""])
    core.config["tasks"]["cell"] |= {
        "model": "models/new",
        "training": {
            "recipe": {**recipe, "backbone": {"name": "dinov3", "arguments": {"weights": "w"}}},
            "samples": ["a"],
            "validation": ["b"],
        },
    }
    text = needed(core)
    assert "sample 'c' reads scan.zip (pydicom)" in text
    assert "sample 'd'" not in text
    assert "task 'cell' has the backbone dinov3 (huggingface_hub, transformers)" in text
    assert text.endswith('run `pip install "parafovea[dicom,dinov3,remote,train]"`')


def test_a_command_ends_with_the_one_error(core):
    (core.path / "scan.zip").write_bytes(b"PK\x03\x04")
    core.rows.append(["c", "cell", "scan.zip", "", "spacing=16,16,16 unit=nanometer"])
    core.write()
    for command in (
        ["check"],
        ["run", "--sample", "c"],
        ["predict", "scan.zip", "--task", "cell", "--metadata", "unit=nanometer"],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 1
        assert 'run `pip install "parafovea[dicom]"`' in done.stderr
        assert "Traceback" not in done.output
    # samples that do not need it are run
    assert CliRunner().invoke(app, ["run", "--sample", "a"]).stderr.count("pip install") == 0
