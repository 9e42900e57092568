"""A folder of tiles is predicted without a sheet, by the options of the stage-2 guide."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from mosaic_sample import reflectance, write_mosaic
from tiny_sample import tiny_model, tiny_refinement
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.drivers.predict_tile_folder import on_device
from parafovea.errors import ConfigError
from parafovea.formats.tiles.npz import write_tile
from parafovea.runtime.devices import DEVICE_VARIABLE


def write_tiles(folder: Path, count: int) -> Path:
    for number in range(count):
        rng = np.random.default_rng(number)
        ramp = np.linspace(0.1, 0.5, 32, dtype=np.float32) + np.zeros((4, 32, 1), np.float32)
        values = (ramp + rng.uniform(0, 0.1, (4, 32, 32))).astype(np.float32)
        write_tile(folder, f"tile_{number}", {"opt_v1": values}, {"month": 6, "biome_code": 3})
    return folder


@pytest.fixture
def project(project_folder: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder whose task `optical` has a model of random weights."""
    folder: Path = project_folder.path
    tiny_model(folder / "models/optical", tiny_refinement(context=False))
    task = {"kind": "refinement", "model": "models/optical", "inference": {"batch_size": 2}}
    project_folder.config["tasks"]["optical"] = task
    project_folder.write()
    (folder / "config/samples.tsv").unlink()  # no sheet is read
    monkeypatch.chdir(folder)
    return folder


def predict(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["predict", "--task", "optical", *map(str, arguments)])


def processing(folder: Path, name: str = "tile_0") -> dict[str, Any]:
    block: dict[str, Any] = json.loads((folder / f"tiles/{name}.json").read_text())["processing"]
    return block


def test_a_folder_of_tiles_becomes_a_folder_of_results_and_a_rerun_skips_them(
    project: Path,
) -> None:
    source = write_tiles(project / "in", 3)
    (source / "cut.npz").write_bytes((source / "tile_0.npz").read_bytes()[:900])
    # what a run of the workflow leaves in a folder of this name
    (project / "results/fields/shards/.made").mkdir(parents=True)
    (project / "results/fields/shards/.made/1.tsv.json").write_text("{}")
    done = predict("--input-dir", "in", "--output", "results/fields")
    assert done.exit_code == 0, done.stderr
    out = project / "results/fields"
    results = {path.name for path in out.iterdir()}
    assert {"tiles", "tiles.tsv", "quarantine.tsv", "report.html", "summary.json"} <= results
    assert "shards" not in results
    names = {path.name for path in (out / "tiles").iterdir()}
    assert names == {f"tile_{n}.{ending}" for n in range(3) for ending in ("npz", "json")}
    summary = json.loads((out / "summary.json").read_text())
    numbers = ("num_tiles", "num_out", "num_finished_before", "num_quarantined", "cpu_fallbacks")
    assert [summary[key] for key in numbers] == [4, 3, 0, 1, 0]
    assert summary["tiles_per_second"] > 0
    assert "cut.npz" in summary["quarantined"]["cut"]
    assert "cut.npz" in done.stderr
    for line in ("num tiles 4", "num out 3", "num quarantined 1", "cpu fallbacks 0"):
        assert line in " ".join(done.stdout.split())

    before = {path: path.stat().st_mtime_ns for path in (out / "tiles").iterdir()}
    again = predict("--input-dir", "in", "--output", "results/fields")
    assert again.exit_code == 0, again.stderr
    assert "num finished before 3" in " ".join(again.stdout.split())
    assert {path: path.stat().st_mtime_ns for path in (out / "tiles").iterdir()} == before
    redone = predict("--input-dir", "in", "--output", "results/fields", "--overwrite")
    assert redone.exit_code == 0, redone.stderr
    assert "num finished before 0" in " ".join(redone.stdout.split())


def test_the_options_of_the_guide_reach_the_results(project: Path) -> None:
    write_tiles(project / "in", 1)
    options = ("--batch-size", 1, "--device", "cpu", "--no-amp")
    done = predict("in", *options)  # a folder of tiles may be given as a scan is
    assert done.exit_code == 0, done.stderr
    block = processing(project / "results/in")
    assert (block["device"], block["use_amp"]) == ("cpu", False)
    assert block["settings"]["precision"] == "float32"
    assert DEVICE_VARIABLE not in os.environ


def test_a_mosaic_is_summed_up_as_what_it_is(project: Path) -> None:
    values = np.rint(reflectance(300, 320) * 10000).astype(np.uint16)
    source = write_mosaic(project / "in", values)
    done = predict(source, "--output", "results/scene", "--metadata", "baseline=0400")
    assert done.exit_code == 0, done.stderr
    lines = {" ".join(line.split()) for line in done.stdout.splitlines()}
    clipped = int((values * 1e-4 - 0.1 < -1e-3).sum())
    assert {"num mosaics 1", "num failed 0", "num blocks 4"} <= lines
    assert {f"values measured {values.size}", f"values clipped {clipped}"} <= lines
    assert not [line for line in lines if "scan" in line or "detection" in line]
    summary = json.loads((project / "results/scene/summary.json").read_text())
    assert (summary["num_blocks"], summary["values_clipped"]) == (4, clipped)


def test_messages_of_libraries_do_not_reach_the_terminal(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "in").mkdir()
    values = np.rint(reflectance(32, 32) * 10000).astype(np.uint16)
    # a nodata number that the type of the file cannot hold
    tag = (42113, "s", 0, "-9999", True)
    tifffile.imwrite(
        project / "in/a.tif",
        values,
        photometric="minisblack",
        planarconfig="separate",
        extratags=[tag],
    )
    caplog.set_level("INFO", logger="tifffile")
    with tifffile.TiffFile(project / "in/a.tif") as file:
        assert file.pages.first.nodata == 0
    assert "castable" in caplog.text
    caplog.clear()
    words = "baseline=0300 bands=B02,B03,B04,B08"
    done = predict("in", "--output", "results/fields", "--metadata", words)
    assert done.exit_code == 0, done.stderr
    assert "castable" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--input-dir", "empty"), "No NPZ tiles found in empty"),
        (("--input-dir", "none"), "none is not a folder"),
        (("--input-dir", "in", "--device", "cuda:9"), "--device cuda:9 is not available"),
        (("--input-dir", "bad", "--output", "out"), "1 of 1 tiles cannot be used"),
        (("config/config.yaml", "--overwrite"), "--overwrite is for tiles, but config/config.yaml"),
        (("in", "--input-dir", "in"), "give one scan, or --input-dir"),
        (
            ("--input-dir", "out/tiles", "--output", "out"),
            "out/tiles lies in out, where the",
        ),
    ],
)
def test_a_mistake_is_one_readable_error(
    project: Path, arguments: tuple[str, ...], message: str
) -> None:
    write_tiles(project / "in", 1)
    write_tiles(project / "out/tiles", 1)
    (project / "empty").mkdir()
    (project / "bad").mkdir()
    (project / "bad/a.npz").write_bytes(b"PK no archive")
    done = predict(*arguments)
    assert done.exit_code == 1
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert (project / "out/tiles/tile_0.npz").is_file()


def test_a_device_counts_within_its_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_VARIABLE, "before")
    with on_device("cpu"):
        assert os.environ[DEVICE_VARIABLE] == "cpu"
    assert os.environ[DEVICE_VARIABLE] == "before"
    monkeypatch.delenv(DEVICE_VARIABLE)
    with pytest.raises(ConfigError, match="omit it, or use cpu"), on_device("tpu"):
        pass
    assert DEVICE_VARIABLE not in os.environ
