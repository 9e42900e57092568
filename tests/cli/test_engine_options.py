"""Options of another engine are refused, and a missing one says what to install."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from parafovea.cli.engines import progress_text
from parafovea.cli.main import app
from parafovea.drivers.ray.work import RunProgress


@pytest.fixture
def invoke(project_folder, monkeypatch):
    """Return a function that runs a command in a project without Ray."""
    monkeypatch.chdir(project_folder.path)
    monkeypatch.setitem(sys.modules, "ray", None)
    return lambda *words: CliRunner().invoke(app, words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--num-gpus", "2"), "--num-gpus is of --engine ray: add that, or leave --num-gpus out"),
        (("--address", "auto"), "--address is of --engine ray: add that"),
        (("--engine", "ray", "--num-workers", "2"), "--num-workers is of --engine local"),
        (("--engine", "ray", "--device", "cuda:1"), "with --engine ray, use --num-gpus"),
        (("--engine", "ray"), 'ray is not installed: run `pip install "parafovea[ray]"`'),
    ],
)
def test_a_mistake_is_one_sentence(invoke, words, message):
    done = invoke("predict", "data/a.tif", "--task", "cell", *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_one_process_runs_one_sample(invoke):
    for words, count in (((), "no"), (("--sample", "a", "--sample", "b"), "2")):
        done = invoke("run", *words)
        assert done.exit_code == 1
        assert f"error {count} samples are named, but one runs at a time" in done.stderr


def test_progress_is_told_in_scans_and_shards():
    run = RunProgress(
        scans=10,
        scans_done=3,
        shards=40,
        shards_done=5,
        failed=1,
        running=(),
        share=0.2,
        seconds_left=None,
    )
    assert progress_text(run) == "3 of 10 scans, 5 of 40 shards, 1 failed"
