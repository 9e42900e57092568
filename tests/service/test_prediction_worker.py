"""A worker records what becomes of a job, and stops at one that is no longer its own."""

from __future__ import annotations

import logging
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from parafovea.config import Settings
from parafovea.service.job_prediction import JobPrediction, Outcome
from parafovea.service.job_queue import JobQueue
from parafovea.service.prediction_worker import Worker
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool
from parafovea.service.worker_names import is_dead, own_name


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


@pytest.fixture
def queue(spool):
    with JobQueue(spool.database) as found:
        yield found


def submitted(queue, spool, *, source="DOE_JOHN.nii.gz", content=b"scan", task="nodules"):
    job = queue.new_id()
    spool.upload(job).mkdir(parents=True)
    (spool.upload(job) / source).write_bytes(content)
    queue.submit(job, owner="", task=task, source=source)
    return job


def worker(queue, spool, predict, **options):
    return Worker(queue, spool, predict, **{"lease": 60, "attempts": 3, **options})


def test_what_an_earlier_attempt_left_is_gone_and_the_result_stays(queue, spool):
    job = submitted(queue, spool)
    spool.attempt(job, 7).mkdir()
    spool.working(job, 7).mkdir()

    def predict(job, observer):
        spool.working(job.id, job.attempt).mkdir()
        (spool.attempt(job.id, job.attempt)).mkdir()
        (spool.attempt(job.id, job.attempt) / "a").write_bytes(bytes(5000))
        observer("stage", 0.5)
        assert queue.get(job.id).share == 0.5
        return Outcome(found=4)

    assert worker(queue, spool, predict).run_one()
    found = queue.get(job)
    assert (found.state, found.found, found.share) == ("completed", 4, 1)
    assert found.bytes >= 5000
    assert sorted(path.name for path in spool.job(job).iterdir()) == ["attempt-1", "upload"]


def test_an_error_that_nobody_foresaw_fails_the_job_without_its_text(queue, spool, caplog):
    job = submitted(queue, spool)

    def predict(job, observer):
        raise RuntimeError(f"cannot read {job.source}")

    with caplog.at_level(logging.INFO, logger="parafovea.service"):
        worker(queue, spool, predict).run_one()
    found = queue.get(job)
    assert found.state == "failed"
    assert "RuntimeError" in found.error
    assert "DOE" not in found.error + caplog.text


@pytest.mark.parametrize("how", ["deleted", "lost"])
def test_a_worker_stops_at_the_next_progress_of_a_job_that_is_not_its_own(queue, spool, how):
    job = submitted(queue, spool)

    def predict(claimed, observer):
        spool.attempt(claimed.id, claimed.attempt).mkdir()
        observer("first", 0.1)
        if how == "deleted":
            queue.delete(claimed.id)
        else:
            queue.release(queue.get(claimed.id).worker, attempts=3)
        observer("second", 0.2)
        raise AssertionError("it went on")

    worker(queue, spool, predict).run_one()
    assert not spool.attempt(job, 1).exists()
    if how == "deleted":
        assert queue.swept(keep_seconds=60, keep_bytes=60) == [job]
    else:
        assert queue.get(job).state == "queued"


def test_a_stage_that_does_not_stop_ends_the_process(queue, spool, monkeypatch):
    from parafovea.service import prediction_worker

    monkeypatch.setattr(prediction_worker, "GRACE", 0.05)
    submitted(queue, spool)
    ended = threading.Event()

    def predict(claimed, observer):
        queue.delete(claimed.id)
        assert ended.wait(20)
        return Outcome()

    worker(queue, spool, predict, lease=0.3, end=ended.set).run_one()
    assert ended.is_set()


def test_heartbeats_keep_a_job_that_takes_longer_than_its_lease(queue, spool):
    submitted(queue, spool)

    def predict(claimed, observer):
        time.sleep(1.5)
        assert queue.claim("other", lease=60, attempts=3) is None
        return Outcome()

    worker(queue, spool, predict, lease=1.0).run_one()
    assert queue.states() == {"completed": 1}


def test_a_worker_that_is_terminated_gives_its_job_back(queue, spool):
    job = submitted(queue, spool)

    def predict(claimed, observer):
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        worker(queue, spool, predict).run_one()
    assert (queue.get(job).state, queue.get(job).attempt) == ("queued", 0)


def test_a_process_is_known_to_be_dead_by_its_start():
    name = own_name()
    assert not is_dead(name)
    machine, number, _ = name.rsplit(":", 2)
    assert is_dead(f"{machine}:{number}:1.00")
    assert is_dead(f"{machine}:{2**22 + 1}:1.00")
    assert not is_dead(f"elsewhere:{number}:1.00")


def test_a_config_of_a_client_names_no_path_and_fits_its_task(queue, spool, tmp_path):
    from parafovea.service.offered_models import job_settings
    from parafovea.service.refusal import Refusal

    settings = Settings.model_validate(
        {
            "tasks": {
                "nodules": {"kind": "detection", "model": "models/tiny"},
                "cell": {"model": "models/cell"},
            }
        }
    )
    file = tmp_path / "config.yaml"

    def chosen(text, task="nodules"):
        file.write_text(text)
        return job_settings(settings, task, file)

    def refused(text, task="nodules"):
        with pytest.raises(Refusal) as caught:
            chosen(text, task)
        assert str(tmp_path) not in caught.value.detail
        assert caught.value.status == 422
        return caught.value.detail

    found = chosen("inference: {patch_size: [16, 32, 32]}\nmodel: {checkpoint: tiny, device: cuda}")
    task = found.settings.tasks["nodules"]
    assert (task.model, task.inference.window) == ("models/tiny", (16, 32, 32))
    assert found.notes == ("device cuda has no effect: the service chooses the device",)
    for path in ("/etc/passwd", "models/tiny", "../tiny", "checkpoints/best_model.pth", "[1]"):
        assert "opens no path of a client" in refused(f"model: {{checkpoint: {path!r}}}")
    assert "tasks" in refused("tasks: {}")
    assert "at most 64" in refused("inference: {batch_size: 1000}")
    for text, reason in (
        ("patch_size: [4096, 4096, 4096]", "a window of 4096 x 4096 x 4096 voxels is larger"),
        ("patch_size: [100000, 16, 16]", "use mode sliding_window and a smaller patch_size"),
        ("patch_size: [256, 256, 256], batch_size: 8", "a batch of 8 windows of 256 x 256 x 256"),
        ("patch_size: [64, 64, 64], stride: [1, 1, 1]", "windows over each voxel: use a larger"),
        ("patch_size: [64, 64, 64], overlap: 0.99", "a stride of 1 x 1 x 1 voxels puts more"),
    ):
        assert reason in refused(f"inference: {{{text}}}")
    assert chosen("inference: {patch_size: [128, 128, 128], stride: [32, 32, 32], batch_size: 4}")
    assert "send none" in refused("inference: {batch_size: 1}", "cell")
    assert "tasks are nodules, cell" in refused("", "other")
    lines = [f"{c}: &{c} [{','.join([f'*{p}'] * 9)}]" for p, c in pairwise("abcdefghi")]
    bomb = "\n".join(["a: &a [1,1,1,1,1,1,1,1,1]", *lines])
    assert refused(bomb)
    assert refused("inference: !!python/object/apply:pathlib.Path.touch [executed]")
    assert not Path("executed").exists()


def test_more_voxels_than_may_be_are_refused_before_anything_is_made(
    queue, spool, tmp_path, monkeypatch
):
    import gzip

    from tiny_detector import save_detector

    from parafovea.config import read_settings

    save_detector(tmp_path / "models/tiny")
    (tmp_path / "config.yaml").write_text(
        "tasks: {nodules: {kind: detection, model: models/tiny}}\n"
    )
    monkeypatch.chdir(tmp_path)
    import nibabel
    import numpy as np

    voxels = nibabel.Nifti1Image(np.zeros((40, 40, 40), np.int16), np.diag([4, 4, 6, 1]))
    job = submitted(queue, spool, content=gzip.compress(voxels.to_bytes()))
    service = ServiceSettings(spool=spool.root, max_voxels=60_000)
    predict = JobPrediction(read_settings(tmp_path / "config.yaml"), service, spool)
    worker(queue, spool, predict).run_one()
    found = queue.get(job)
    assert found.state == "failed"
    assert found.error.startswith("the uploaded file has 64000 voxels")
    assert "at most 60000 are predicted here: crop it" in found.error
    assert [path.name for path in spool.job(job).iterdir()] == ["upload"]


@pytest.mark.parametrize(
    ("inference", "reason"),
    [
        ("mode: whole_volume", "a window of 40 x 40 x 40 voxels is larger than the 60000"),
        ("stride: [1, 1, 1]", "a stride of 1 x 1 x 1 voxels puts more than 512 windows"),
        ("overlap: 0.99", "a stride of 1 x 1 x 1 voxels puts more than 512 windows"),
    ],
)
def test_windows_that_a_client_asks_for_are_bounded_also_by_the_scan_and_the_model(
    queue, spool, tmp_path, monkeypatch, inference, reason
):
    import gzip

    import nibabel
    import numpy as np
    from tiny_detector import save_detector

    from parafovea.config import read_settings
    from parafovea.service import offered_models

    monkeypatch.setattr(offered_models, "MOST_WINDOW", 60_000)
    save_detector(tmp_path / "models/tiny")
    (tmp_path / "config.yaml").write_text(
        "tasks: {nodules: {kind: detection, model: models/tiny}}\n"
    )
    monkeypatch.chdir(tmp_path)
    voxels = nibabel.Nifti1Image(np.zeros((40, 40, 40), np.int16), np.diag([4, 4, 6, 1]))
    job = submitted(queue, spool, content=gzip.compress(voxels.to_bytes()))
    spool.config(job).write_text(f"inference: {{{inference}}}")
    settings = read_settings(tmp_path / "config.yaml")
    predict = JobPrediction(settings, ServiceSettings(spool=spool.root), spool)
    worker(queue, spool, predict).run_one()
    assert queue.get(job).state == "failed"
    assert reason in queue.get(job).error
