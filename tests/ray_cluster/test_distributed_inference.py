"""Scans, tiles and blocks on a cluster: the bytes of a run in one process, in order, once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile
from small_cluster import new_cluster
from tiny_detector import SHAPE, SPACING, save_detector
from tiny_sample import smooth_volume, tiny_model, tiny_refinement
from typer.testing import CliRunner

from parafovea import distributed_inference
from parafovea.cli.main import app
from parafovea.config import read_project
from parafovea.drivers.one_process import run_chain
from parafovea.drivers.predict_scans import predict_scan, project_of
from parafovea.drivers.ray.distributed import settings_of
from parafovea.errors import ConfigError, ModelError
from parafovea.formats.tiles.npz import write_tile
from parafovea.planning.staleness import Staleness
from parafovea.runtime.shipped_files import shipped
from parafovea.storage.layout import RECORD, RECORDS
from parafovea_phantoms import chest_phantom
from parafovea_phantoms.phantom_files import write_volume

#: Scans in the order in which they are asked for; the second is cut off, the fourth is not there.
SCANS = ("scans/p3.nii.gz", "broken.nii.gz", "scans/p1.nii.gz", "gone.nii.gz")


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of every result in a folder, without records of what made them."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {RECORD, RECORDS} & set(path.parts)
    }


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a detector, scans, and what a run in one process makes of them."""
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "scans").mkdir()
    save_detector(folder / "model")
    for seed in (1, 3):
        phantom = chest_phantom(seed, shape=SHAPE, spacing=SPACING)
        write_volume(folder / f"scans/p{seed}.nii.gz", phantom.image, phantom.grid, attributes={})
    good = (folder / "scans/p1.nii.gz").read_bytes()
    (folder / "broken.nii.gz").write_bytes(good[:2000])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        settings, task = settings_of("model", None)
        scans = {name: f"scans/{name}.nii.gz" for name in ("p1", "p3")}
        project = project_of(settings, scans, task=task, results=Path("here"))
        for name in scans:
            assert predict_scan(project, name).error is None
    return folder


@pytest.fixture
def in_hospital(hospital: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to the folder with scans."""
    monkeypatch.chdir(hospital)
    return hospital


def test_scans_have_the_bytes_of_one_process_in_order_and_a_bad_one_stops_no_other(
    ray_cluster, in_hospital
):
    steps = []
    call = {"num_gpus": 2, "output_dir": "out", "address": ray_cluster.address}
    found = distributed_inference("model", SCANS, **call, progress=steps.append)

    assert [each.source for each in found] == list(SCANS)
    assert [each.error is None for each in found] == [True, False, True, False]
    assert found[1].error.startswith("broken.nii.gz is truncated")
    assert found[3].error.startswith("gone.nii.gz does not exist")
    for each in (found[0], found[2]):
        assert contents(each.folder) == contents(in_hospital / "here" / each.folder.name)
        assert each.files["detections.json"] == each.folder / "detections.json"
        assert each.files["heatmap.nii.gz"].is_file()
        # what a scan needs only while it is predicted goes
        assert not list(each.folder.glob("*.zarr"))
    shares = [step.share for step in steps]
    assert shares == sorted(shares)
    assert (steps[-1].scans, steps[-1].scans_done, steps[-1].failed) == (2, 2, 0)
    assert steps[-1].shards == steps[-1].shards_done == 2
    assert all(step.seconds_left is not None for step in steps if step.share)

    # what is finished is not predicted again, by whatever number of GPUs
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*") if path.is_file()}
    again = distributed_inference("model", SCANS, **call | {"num_gpus": 1})
    assert [each.error for each in again] == [each.error for each in found]
    assert [each.files for each in again] == [each.files for each in found]
    after = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*") if path.is_file()}
    assert after == before


def killed_once(titles: tuple[str, ...], stop: threading.Event) -> set[str]:
    """Kill the first process whose title begins as one that is given; return those titles."""
    killed: set[str] = set()
    while not stop.is_set() and len(killed) < len(titles):
        # of the clusters that these tests started, and of no other
        for process in psutil.Process().children(recursive=True):
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            found = [title for title in titles if line.startswith(title)]
            if found and not killed.intersection(found):
                process.kill()
                killed.update(found)
        time.sleep(0.02)
    return killed


def test_scans_whose_worker_and_whose_actor_are_killed_end_with_the_same_bytes(
    ray_cluster, in_hospital, caplog
):
    stop, killed = threading.Event(), set()
    titles = ("ray::ModelWorker.run", "ray::measure_detections")
    killer = threading.Thread(target=lambda: killed.update(killed_once(titles, stop)))
    killer.start()
    try:
        found = distributed_inference(
            "model",
            {"first": "scans/p3.nii.gz", "p1": "scans/p1.nii.gz"},
            output_dir="killed",
            address=ray_cluster.address,
        )
    finally:
        stop.set()
        killer.join()
    assert killed == set(titles)
    assert caplog.text.count(" was lost: ") >= 2
    assert [each.error for each in found] == [None, None]
    assert contents(found[1].folder) == contents(in_hospital / "here/p1")
    # the scan is named in reports alone
    heatmap = contents(found[0].folder)["heatmap.nii.gz"]
    assert heatmap == contents(in_hospital / "here/p3")["heatmap.nii.gz"]


def test_a_head_that_goes_away_is_a_clear_error_and_a_second_call_resumes(ray_cluster, in_hospital):
    Path("config").mkdir()
    Path("config/config.yaml").write_text("tasks:\n  a: {kind: detection, model: model}\n")
    command = ["predict", "--input-dir", "scans", "--task", "a", "--output", "resumed"]
    command += ["--engine", "ray", "--address"]
    program = "from parafovea.cli.main import app; app()"
    cluster = new_cluster()
    address = cluster.address
    run = subprocess.Popen(
        [sys.executable, "-c", program, *command, address],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: list(Path("resumed").glob("p*/volume.ome.zarr")), run)
    finally:
        # the whole node of the head, at once
        cluster.remove_node(cluster.head_node, allow_graceful=False)
        output, errors = run.communicate(timeout=120)
        cluster.shutdown()
    assert run.returncode == 1, output
    assert f"error the Ray cluster at {address} went away during the run: start" in errors
    assert "Traceback" not in errors
    kept = {path: path.stat().st_mtime_ns for path in Path("resumed").glob("p*/volume.ome.zarr")}
    assert kept

    os.environ.pop("RAY_ADDRESS", None)
    done = CliRunner().invoke(app, [*command, ray_cluster.address, "--keep"])
    assert done.exit_code == 0, done.output
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for name in ("p1", "p3"):
        wanted = contents(in_hospital / "here" / name)
        assert wanted.items() <= contents(Path("resumed", name)).items()


def wait_until(condition: Callable[[], Any], run: subprocess.Popen[str]) -> None:
    """Wait for a condition while a process runs."""
    end = time.monotonic() + 180
    while not condition():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_model_or_a_task_that_does_not_fit_is_refused(in_hospital):
    with pytest.raises(ModelError, match=r"p1\.nii\.gz is a file, and a model is a folder here"):
        distributed_inference("scans/p1.nii.gz", SCANS)
    with pytest.raises(ConfigError, match=r"task 'b' is (of|not in)"):
        distributed_inference("model", SCANS, task="b")


@pytest.fixture
def optical(project_folder: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with tiles, and a task `optical` that shares them among three jobs."""
    folder: Path = project_folder.path
    tiny_model(folder / "models/optical", tiny_refinement(context=False))
    task = {"kind": "refinement", "model": "models/optical", "inference": {"shards": 3}}
    project_folder.config["tasks"]["optical"] = task
    project_folder.write()
    monkeypatch.chdir(folder)
    # tiles state the time
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    for number in range(7):
        values = np.random.default_rng(number).uniform(0.1, 0.5, (4, 32, 32)).astype(np.float32)
        write_tile(folder / "in", f"tile_{number}", {"opt_v1": values}, {"month": 6})
    (folder / "in/cut.npz").write_bytes((folder / "in/tile_0.npz").read_bytes()[:900])
    return folder


#: Folders of results: of a run in one process, and of one on Ray.
PLACES = ("here", "there")


def timeless(path: Path) -> dict[str, Any]:
    """Return what the JSON file of a tile states, without how long it took."""
    stated: dict[str, Any] = json.loads(path.read_text())
    del stated["processing"]["processing_time_ms"]
    return stated


def test_tiles_by_shares_have_the_bytes_of_one_process(ray_cluster, optical):
    command = ["predict", "--input-dir", "in", "--task", "optical", "--output"]
    on_ray = ["--engine", "ray", "--address", ray_cluster.address]
    for place, options in zip(PLACES, ([], on_ray), strict=True):
        done = CliRunner().invoke(app, [*command, f"{place}/in", *options])
        assert done.exit_code == 0, done.output
        assert re.search(r"^num out +7$", done.stdout, re.MULTILINE)
    here, there = (contents(optical / place / "in") for place in PLACES)
    # all but what states how long a tile took, and lists with the hashes of that
    same = {name for name in here if name.endswith((".npz", ".png", "quality.tsv"))}
    assert {f"tiles/tile_{n}.npz" for n in range(7)} | {"quality.tsv"} < same
    assert {name: there[name] for name in same} == {name: here[name] for name in same}
    for number in range(7):
        stated = [timeless(optical / f"{place}/in/tiles/tile_{number}.json") for place in PLACES]
        assert stated[0] == stated[1]
    shares = {path.name for path in (optical / "there/in/shards").glob("*.tsv")}
    assert shares == {"1.tsv", "2.tsv", "3.tsv"}


def test_a_volume_in_blocks_and_shards_and_a_bad_sample_of_the_sheet(
    ray_cluster, make_runnable, tmp_path, monkeypatch
):
    folder = make_runnable(tmp_path / "project")
    monkeypatch.chdir(folder.path)
    (row,) = folder.rows
    volume = smooth_volume((66, 130, 72)).astype(np.float64) * 200
    tifffile.imwrite(folder.path / row[2], volume.astype(np.uint8), photometric="minisblack")
    truth = (volume > 120).astype(np.uint8)
    tifffile.imwrite(folder.path / row[3], truth, photometric="minisblack")
    folder.config["tasks"]["cell"] |= {"blocks": 3, "inference": {"shards": 2, "window": None}}
    folder.add("bad")
    Path(folder.rows[1][2]).write_bytes(b"no image")
    folder.write()
    config = folder.path / "config/config.yaml"
    options = ["run", "--engine", "ray", "--address", ray_cluster.address]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 1
    assert "bad: data/bad.tif" in done.stderr
    assert "The report is results/a/report.html" in done.stdout
    assert Path("results/report.html").is_file()
    made = contents(Path("results/a"))

    # what Ray made is current for a run in one process, and has its bytes
    again: list[str] = []
    project = read_project(config)
    run_chain(project, "a", Staleness(project, scripts=shipped("scripts")), announce=again.append)
    assert again == []
    shutil.move("results", "by_ray")
    run_chain(project, "a", Staleness(project, scripts=shipped("scripts")), announce=again.append)
    assert {"resample_volume_block", "infer_shard", "join_objects"} <= set(again)
    assert contents(Path("results/a")) == made
