"""A full disk ends no process and blocks no queue: what it refuses is said, and is done later."""

from __future__ import annotations

import contextlib
import errno

import pytest

from parafovea.service.inference_service import Service
from parafovea.service.job_prediction import Outcome
from parafovea.service.job_queue import JobQueue
from parafovea.service.prediction_worker import Worker
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool
from parafovea.service.uploads import DISK_FULL
from parafovea.service.worker_processes import WorkerProcesses


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


@pytest.fixture
def queue(spool):
    with JobQueue(spool.database) as found:
        yield found


def submitted(queue, spool):
    job = queue.new_id()
    spool.upload(job).mkdir(parents=True)
    (spool.upload(job) / "scan.nii").write_bytes(b"scan")
    return queue.submit(job, owner="", task="nodules", source="scan.nii")


@contextlib.contextmanager
def full(queue):
    """Let SQLite find no more room, as on a full disk."""
    with queue._lock:
        used = queue._database.execute("PRAGMA page_count").fetchone()[0]
        queue._database.execute(f"PRAGMA max_page_count = {used}")
    yield
    with queue._lock:
        queue._database.execute("PRAGMA max_page_count = 1000000")


def test_a_queue_on_a_full_disk_says_so_and_goes_on_when_there_is_room(queue, spool):
    first = submitted(queue, spool)
    with full(queue):
        for _ in range(3):
            with pytest.raises(OSError, match="No space left") as caught:
                for _ in range(200):
                    queue.submit(queue.new_id(), owner="", task="nodules", source="a" * 500)
            assert caught.value.errno == errno.ENOSPC
        # what is there can be read
        assert queue.get(first.id) == first
    count = queue.states()["queued"]
    submitted(queue, spool)
    assert queue.states()["queued"] == count + 1
    assert queue.claim("worker", lease=60, attempts=3).id == first.id


def refused(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_job_ends_although_its_progress_cannot_be_recorded(queue, spool, monkeypatch):
    job = submitted(queue, spool)

    def predict(claimed, observer):
        monkeypatch.setattr(queue, "progress", refused)
        monkeypatch.setattr(queue, "extend", refused)
        observer("first", 0.2)
        observer("second", 0.4)
        return Outcome(found=1)

    Worker(queue, spool, predict, lease=0.3, attempts=3).run_one()
    assert queue.get(job.id).state == "completed"


@pytest.mark.parametrize("of", [OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x")])
def test_a_job_that_fills_the_disk_fails_with_words_that_a_client_understands(queue, spool, of):
    job = submitted(queue, spool)

    def predict(claimed, observer):
        spool.attempt(claimed.id, claimed.attempt).mkdir()
        raise of

    Worker(queue, spool, predict, lease=60, attempts=3).run_one()
    found = queue.get(job.id)
    assert (found.state, found.error) == ("failed", DISK_FULL)
    assert [path.name for path in spool.job(job.id).iterdir()] == ["upload"]


def test_a_worker_waits_where_the_queue_cannot_be_written(queue, spool, monkeypatch):
    from parafovea.service import prediction_worker

    monkeypatch.setattr(prediction_worker, "FULL", 0.01)
    job = submitted(queue, spool)
    worker = Worker(queue, spool, lambda job, observer: Outcome(found=0), lease=60, attempts=3)
    rounds = iter(range(4))
    claim = queue.claim

    def later(*arguments, **options):
        if next(rounds) < 2:
            refused()
        return claim(*arguments, **options)

    monkeypatch.setattr(queue, "claim", later)
    worker.run(lambda: queue.get(job.id).state == "completed")
    assert next(rounds) == 3


def test_a_client_frees_a_full_disk_by_deleting_results(spool, monkeypatch):
    service = Service(ServiceSettings(spool=spool.root), None)
    job = submitted(service.queue, spool)
    claimed = service.queue.claim("worker", lease=60, attempts=3)
    delete = service.queue.delete

    def short_of_room(job):
        return refused() if spool.upload(job).exists() else delete(job)

    monkeypatch.setattr(service.queue, "delete", short_of_room)
    with pytest.raises(OSError, match="No space"):
        service.delete(job.id, "")
    assert spool.upload(job.id).exists()
    service.queue.complete(claimed, found=0, size=1)
    service.delete(job.id, "")
    assert not spool.job(job.id).exists()
    assert service.queue.get(job.id) is None
    service.queue.close()


def test_results_expire_although_that_cannot_be_recorded_at_first(spool, queue, monkeypatch):
    job = submitted(queue, spool)
    queue.complete(queue.claim("worker", lease=60, attempts=3), found=0, size=100)
    swept = queue.swept

    def short_of_room(**kept):
        return refused() if spool.upload(job.id).exists() else swept(**kept)

    monkeypatch.setattr(queue, "swept", short_of_room)
    settings = ServiceSettings(spool=spool.root, workers=0, keep_bytes=10)
    processes = WorkerProcesses(settings, spool, queue)
    with pytest.raises(OSError, match="No space"):
        processes._sweep()
    assert not spool.job(job.id).exists()
    processes._sweep()
    assert queue.get(job.id).state == "expired"
