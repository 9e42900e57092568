"""Scans are predicted without a sheet: one, or a folder of them, whatever some of them hold."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tiny_detector import SHAPE, SPACING, save_detector
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.config import read_settings
from parafovea.drivers import predict_scans
from parafovea.drivers.predict_scans import Summary, project_of, scans_in
from parafovea.storage.layout import matching
from parafovea_phantoms import chest_phantom
from parafovea_phantoms.phantom_files import write_volume


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """Return a coarse chest as a NIfTI file."""
    phantom = chest_phantom(1, shape=SHAPE, spacing=SPACING)
    path = tmp_path_factory.mktemp("scans") / "patient_001.nii.gz"
    write_volume(path, phantom.image, phantom.grid, attributes={})
    return path


@pytest.fixture
def project(project_folder, monkeypatch) -> Path:
    """Go to a folder whose task `nodules` has a model of random weights."""
    folder = project_folder.path
    save_detector(folder / "models/nodule")
    project_folder.config["tasks"]["nodules"] = {"kind": "detection", "model": "models/nodule"}
    project_folder.write()
    # no sheet is read
    (folder / "config/samples.tsv").unlink()
    monkeypatch.chdir(folder)
    return folder


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_links_to_intermediate_results_go_with_them(tmp_path):
    for name in ("volume.ome.zarr", "classes.ome.zarr", "image.ome.zarr"):
        (tmp_path / name).mkdir()
    (tmp_path / "image.ome.zarr" / "0").symlink_to("../volume.ome.zarr/0")
    found = {path.name for path in matching(tmp_path, predict_scans.INTERMEDIATE)}
    assert found == {"image.ome.zarr", "volume.ome.zarr"}


def test_one_scan_gets_a_folder_of_results_and_nothing_else_stays(project, scan, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    began = datetime.now(UTC)
    done = predict(scan, "--task", "nodules", "--output", "results/first")
    assert done.exit_code == 0, done.stderr
    made = {path.name for path in (project / "results/first").iterdir()}
    assert made == {
        "heatmap.nii.gz",
        "detections.json",
        "detections.csv",
        "visualization.png",
        "confidence_distribution.png",
        "thumbnail.jpg",
        "3d_rendering.html",
        "report.pdf",
        "report.html",
        "quality.json",
        "quality.tsv",
    }
    document = json.loads((project / "results/first/detections.json").read_text())
    assert document["scan_id"] == "first"
    assert document["metadata"]["shape"] == [SHAPE[2], SHAPE[1], SHAPE[0]]
    # a command that is run once says when, and how long it took
    told = datetime.strptime(document["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert began - timedelta(seconds=1) <= told <= datetime.now(UTC)
    took = document["summary"]["processing_time_seconds"]
    assert 0 < took <= (datetime.now(UTC) - began).total_seconds() + 0.1
    assert f"total detections  {len(document['detections'])}" in done.stdout


def test_a_folder_of_scans_is_summarized_and_a_broken_one_stops_no_other(project, scan, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "patient_001.nii.gz").write_bytes(scan.read_bytes())
    (folder / "broken.nii.gz").write_bytes(scan.read_bytes()[:2000])
    (folder / "notes.txt").write_text("no scan")
    done = predict("--input-dir", folder, "--output", "out")
    assert done.exit_code == 1
    assert "broken: " in done.stderr
    assert "Traceback" not in done.output
    summary = json.loads((project / "out/summary.json").read_text())
    assert (summary["num_scans"], summary["num_failed"]) == (1, 1)
    assert summary["seconds_per_scan"] > 0
    assert (project / "out/patient_001/report.html").is_file()
    assert not (project / "out/broken/detections.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one scan, or --input-dir"),
        (("none.nii.gz",), "none.nii.gz"),
        (("config/config.yaml",), "in an unknown format"),
        (
            ("https://example.org/a.nii.gz",),
            "error source: https://example.org/a.nii",
        ),
        (("{scan}", "--task", "nodule"), "task 'nodule' is not in the config: tasks are cell, nod"),
        (("--input-dir", "models"), "models has no scans"),
    ],
)
def test_a_mistake_is_one_readable_error(project, scan, arguments, message):
    done = predict(*(text.format(scan=scan) for text in arguments))
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert not (project / "results").exists()


def test_names_and_files_that_are_unfit_concern_no_other_scan(tmp_path, scan):
    for name in ("good.nii.gz", "a.nii.gz", "a.mha", "patient 02.nii.gz", "größe.nii.gz"):
        (tmp_path / name).write_bytes(scan.read_bytes())
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    (tmp_path / "series.zip").write_bytes(b"no archive")
    (tmp_path / "header.mhd").write_text("ElementDataFile = gone.raw\n")
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "empty").mkdir()
    (tmp_path / "tiles").mkdir()
    np.savez(tmp_path / "tiles" / "a.npz", opt_v1=np.zeros((4, 8, 8)))
    assert "tiles" in scans_in(tmp_path).scans
    found = scans_in(tmp_path, tiles=False)
    assert "is a folder of tiles, which" in found.unfit.pop("tiles")
    assert set(found.scans) == {"good", "series"}
    assert set(found.unfit) == {
        "a.nii.gz",
        "a.mha",
        "patient 02.nii.gz",
        "größe.nii.gz",
        "gone.nii.gz",
        "header.mhd",
    }
    assert found.left_out == ("empty", "notes.txt")
    assert "have the same name 'a'" in found.unfit["a.mha"]
    assert "predict it alone with --output" in found.unfit["patient 02.nii.gz"]


def test_a_folder_with_a_bad_name_is_predicted_but_for_that_scan(project, scan, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("p01.nii.gz", "patient 02.nii.gz"):
        (folder / name).write_bytes(scan.read_bytes())
    (folder / "notes.txt").write_text("no scan")
    done = predict("--input-dir", folder, "--output", "out")
    assert done.exit_code == 1
    assert "patient 02.nii.gz: " in done.stderr
    assert "1 left out of" in done.stderr
    assert (project / "out/p01/detections.json").is_file()
    summary = json.loads((project / "out/summary.json").read_text())
    assert (summary["num_scans"], summary["num_failed"]) == (1, 1)


def test_the_batch_is_that_of_the_command_line(project, scan):
    settings = read_settings(project / "config/config.yaml")
    made = project_of(
        settings, {"a": str(scan)}, task="nodules", results=Path("results"), batch_size=3
    )
    assert made.inference("a").batch_size == 3
    assert np.allclose(made.grid("a").spacing, SPACING)


def test_an_error_that_was_not_foreseen_ends_its_scan_alone(project, scan, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(predict_scans, "run_sample", broken)
    settings = read_settings(project / "config/config.yaml")
    made = project_of(settings, {"a": str(scan)}, task="nodules", results=Path("results"))
    result = predict_scans.predict_scan(made, "a")
    assert result.error == "ZeroDivisionError: division by zero"
    assert "Traceback" in caplog.text


def test_an_empty_summary_divides_by_nothing():
    assert Summary.of([], "objects").seconds_per_scan == 0


def test_a_scan_without_voxel_size_asks_for_the_option_and_not_for_a_sheet(project, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 16, 16), np.int16), photometric="minisblack")
    done = predict(tmp_path / "a.tif")
    assert done.exit_code == 1
    assert "after --metadata" in done.stderr
    assert "sheet" not in done.stderr
