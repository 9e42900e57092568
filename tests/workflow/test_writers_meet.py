"""Snakemake and the commands that write results, at the same time in the same folder."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parafovea.cli.main import app

ROOT = Path(__file__).parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "1"]
PARAFOVEA = [sys.executable, "-c", "from parafovea.cli.main import app; app()"]
RUN = [*PARAFOVEA, "run", "--sample", "a"]

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def made(make_runnable, tmp_path_factory):
    return make_runnable(tmp_path_factory.mktemp("made"))


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    path = Path(shutil.copytree(made.path, tmp_path / "project"))
    monkeypatch.chdir(path)
    return path


def start(command, until):
    """Start a program, stop it as soon as a file is there, and return it."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while not Path(until).exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGSTOP)
    return process


def go_on(process):
    """Let a stopped program end, and return its status and output."""
    os.killpg(process.pid, signal.SIGCONT)
    text, _ = process.communicate()
    return process.returncode, text


def call(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def clean():
    return CliRunner().invoke(app, ["clean", "--stage", "resample"])


def test_run_and_clean_are_refused_while_snakemake_runs(project):
    run = start(SNAKEMAKE, "results/a/volume.ome.zarr/zarr.json")
    try:
        status, text = call(RUN)
        assert status == 1
        message = (
            "a run of the workflow is writing to results: wait until it ends, or stop it first"
        )
        assert text == f"error {message}\n"
        assert "is running in this folder: wait until it ends" in clean().stderr
        # another folder is another matter
        status, text = call([*PARAFOVEA, "predict", "data/a.tif", "--task", "cell", "-o", "else/a",
                             "--metadata", "spacing=16,16,16 unit=nanometer"])  # fmt: skip
        assert status == 0, text
        assert "total objects" in text
        assert "detections" not in text
    finally:
        status, text = go_on(run)
    assert status == 0, text
    assert Path("results/a/report.html").is_file()


def test_snakemake_and_clean_are_refused_while_a_command_writes(project):
    run = start(RUN, "results/a/volume.ome.zarr/zarr.json")
    try:
        status, text = call(SNAKEMAKE)
        assert status == 1
        assert (
            "Nothing was run. parafovea run, predict or phantom is writing to results/a: wait until"
        ) in text
        assert "Traceback" not in text
        assert Path("results/a/volume.ome.zarr/zarr.json").is_file()
        done = clean()
        assert done.exit_code == 1
        assert "parafovea run or predict is writing to results/a: wait until it ends" in done.stderr
        status, text = call(RUN)
        assert status == 1
        assert "another parafovea run, predict or phantom is writing to results/a" in text
        # planning writes nothing
        status, text = call([*SNAKEMAKE, "--dry-run"])
        assert status == 0, text
    finally:
        status, text = go_on(run)
    assert status == 0, text
    assert Path("results/a/report.html").is_file()
    assert clean().exit_code == 0


def test_a_cluster_that_is_not_there_is_one_sentence_and_nothing_is_deleted(project, tmp_path):
    assert call(SNAKEMAKE)[0] == 0
    (tmp_path / "bin").mkdir()
    # the executor of Snakemake looks for squeue before the workflow asks sinfo
    for name, end in (
        ("sbatch", "exit 1"),
        ("squeue", "exit 1"),
        ("sinfo", "echo no cluster >&2; exit 1"),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{end}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    command = [*SNAKEMAKE[:-2], "--profile", str(ROOT / "slurm"), "--forcerun", "summarize_cohort"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
    )
    assert done.returncode == 1
    assert "Nothing was run. no Slurm cluster answers here (no cluster): run this" in done.stderr
    assert "Error in rule" not in done.stdout + done.stderr
    assert Path("results/cohort/quality.tsv").is_file()
    assert not list(Path(".snakemake").glob("locks/*"))
