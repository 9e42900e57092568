"""The last words of a run in which jobs failed: which samples, why, and a report of the others."""

import os
from pathlib import Path

import pytest

from parafovea.chain.cohort_stages import summarize_cohort
from parafovea.chain.stage import Stage
from parafovea.config import read_project
from parafovea.drivers.failed_run import OpenJob, conclude, failed_samples
from parafovea.errors import StoreError

START = 1_000_000.0


@pytest.fixture
def project(project_folder, monkeypatch):
    """Return a project of a, b and c, which needs the result of b."""
    monkeypatch.chdir(project_folder.path)
    project_folder.rows.append(["c", "cell", "@b", "", ""])
    project_folder.write()
    return read_project(project_folder.path / "config/config.yaml")


@pytest.fixture
def written(monkeypatch):
    """Return the calls of the stage that writes the report, which is not run."""
    calls = []
    monkeypatch.setattr(Stage, "load", lambda self: lambda **call: calls.append(call))
    return calls


def job(sample, stage="infer_shard", log=None, *, at=START + 5):
    """Return a job that is not finished, with the text of its log and when it was written."""
    path = Path(f"results/logs/{sample}/{stage}.log")
    if log is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(log)
        os.utime(path, (at, at))
    return OpenJob(stage, {"sample": sample}, [str(path)])


ERROR = "INFO parafovea: 2 windows\nERROR parafovea: a.tif is cut\n  in infer_shard of a\n"


def test_the_reason_is_the_last_error_in_a_log_of_this_run(project):
    jobs = [job("a", log=ERROR), job("a", "blend_shards")]
    found = failed_samples(project, jobs, since=START)
    assert found == {"a": "a.tif is cut; in infer_shard of a"}


def test_a_log_of_an_earlier_run_is_no_reason(project):
    found = failed_samples(project, [job("a", log=ERROR, at=START - 50)], since=START)
    assert found == {"a": "it was not finished, since the run ended before"}


def test_a_job_that_was_killed_says_so(project):
    found = failed_samples(project, [job("a", log="INFO parafovea: begins\n")], since=START)
    assert found["a"].startswith("infer_shard was stopped, and its log results/logs/a/infer_sh")


def test_a_sample_that_waited_for_another_says_for_which(project):
    found = failed_samples(project, [job("c"), job("b", log=ERROR)], since=START)
    assert list(found) == ["b", "c"]
    assert found["c"] == "it needs the result of 'b', which failed"


def test_a_long_reason_is_cut(project):
    log = f"ERROR parafovea: {'x' * 5000}\n"
    found = failed_samples(project, [job("a", log=log)], since=START)
    assert len(found["a"]) == 1000


def test_the_report_of_the_others_is_written_without_a_record(project, written):
    record = Path(summarize_cohort.record(project, {}))
    record.parent.mkdir(parents=True)
    record.touch()
    jobs = [job("b", log=ERROR), job("c"), OpenJob("summarize_cohort", {}, [])]
    words = conclude(project, jobs, since=START)
    (call,) = written
    samples = call["samples"]
    assert [name for name in samples if "failure" not in samples[name]] == ["a"]
    assert samples["b"]["failure"] == "a.tif is cut; in infer_shard of a"
    assert call["html"] == Path("results/report.html")
    assert not record.exists()
    assert words.splitlines() == [
        "2 of 3 samples failed:",
        "b: a.tif is cut; in infer_shard of a",
        "c: it needs the result of 'b', which failed",
        "The report of the other sample is results/report.html",
        "The logs are in results/logs.",
    ]


def test_a_report_that_the_run_has_written_is_not_written_again(
    project_folder, monkeypatch, written
):
    monkeypatch.chdir(project_folder.path)
    Path("data/a.tif").unlink()
    project = read_project(project_folder.path / "config/config.yaml")
    words = conclude(project, [OpenJob("report_failures", {}, [])], since=START)
    assert written == []
    assert "a: source: data/a.tif does not exist" in words
    assert "The report of the other sample is results/report.html" in words


def test_without_a_finished_sample_there_is_no_report(project, written):
    jobs = [job(name, log=ERROR) for name in "abc"]
    assert "there is no report" in conclude(project, jobs, since=START)
    assert written == []


def test_an_error_of_the_report_does_not_hide_those_of_the_samples(project, monkeypatch):
    def fail(**call):
        raise StoreError("a/quality.json is damaged")

    monkeypatch.setattr(Stage, "load", lambda self: fail)
    jobs = [job("b", log=ERROR), OpenJob("summarize_cohort", {}, [])]
    words = conclude(project, jobs, since=START)
    assert "b: a.tif is cut" in words
    assert "could not be written: a/quality.json is damaged" in words
