"""What a run still has to do: with what each job waits for, and without what it may remove."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parafovea.config import read_project
from parafovea.drivers.one_process import run_chain
from parafovea.drivers.open_jobs import job_text, open_jobs
from parafovea.planning.staleness import Job, Staleness
from parafovea.storage.store import discard


@pytest.fixture
def project(
    make_runnable: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Go to a folder with one small sample, and return its project."""
    folder = make_runnable(tmp_path)
    folder.config["tasks"]["cell"]["inference"] = {"shards": 2, "window": None}
    folder.write()
    monkeypatch.chdir(tmp_path)
    return read_project(Path("config/config.yaml"))


def names(jobs: Any) -> list[str]:
    return [job_text(job) for job in jobs]


def test_open_jobs_wait_for_those_whose_results_they_read(project: Any) -> None:
    found = open_jobs(Staleness(project), "a")
    assert found.all == tuple(found.needs)
    needs = {job_text(job): set(names(others)) for job, others in found.needs.items()}
    assert needs["resample_volume of a"] == set()
    assert needs["infer_shard of a, shard 2"] == {
        "resample_volume of a",
        "extract_features of a",
        "extract_context of a",
    }
    assert needs["blend_shards of a"] == {
        "infer_shard of a, shard 1",
        "infer_shard of a, shard 2",
    }
    # each before those that need it
    order = list(found.needs)
    for job, others in found.needs.items():
        assert all(order.index(other) < order.index(job) for other in others)


def test_a_result_that_the_run_removes_is_not_asked_for_again(project: Any) -> None:
    run_chain(project, "a", Staleness(project))
    assert not open_jobs(Staleness(project), "a").needs
    for name in ("volume.ome.zarr", "features.zarr", "prediction.ome.zarr"):
        discard(Path("results/a") / name)

    def passing(path: str) -> bool:
        return path.endswith(("volume.ome.zarr", "prediction.ome.zarr"))

    assert not open_jobs(Staleness(project), "a", passing=passing).needs
    assert "resample_volume of a" in names(open_jobs(Staleness(project), "a").needs)
    # what needs them is missing: they are made again
    Path("results/a/objects.tsv").unlink()
    again = names(open_jobs(Staleness(project), "a", passing=passing).needs)
    assert {"resample_volume of a", "blend_shards of a", "segment_objects of a"} <= set(again)
    assert "extract_context of a" not in again


def test_a_job_without_a_sample_is_named_by_its_stage() -> None:
    from parafovea.kinds.stages import stages

    assert job_text(Job.of(stages()["summarize_cohort"], {})) == "summarize_cohort"
    train = Job.of(stages()["train_model"], {"model": "models/a"})
    assert job_text(train) == "train_model of model models/a"
