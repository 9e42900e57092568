"""The queue: leases, attempts, cancelling and expiry, with a clock of its own."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter

import pytest

from parafovea.service.job_queue import JobQueue, QueueFullError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(tmp_path, clock):
    with JobQueue(tmp_path / "queue.sqlite3", clock=clock) as found:
        yield found


def submitted(queue, *, owner=""):
    job = queue.new_id()
    queue.submit(job, owner=owner, task="nodules", source="scan.nii.gz")
    return job


def claimed(queue, worker="a", *, lease=60, attempts=3):
    return queue.claim(worker, lease=lease, attempts=attempts)


def test_jobs_are_taken_in_the_order_in_which_they_came(queue):
    jobs = [submitted(queue) for _ in range(3)]
    assert [queue.position(job) for job in jobs] == [0, 1, 2]
    assert [claimed(queue).id for _ in jobs] == jobs
    assert claimed(queue) is None
    assert queue.position(jobs[0]) is None


def test_a_job_is_taken_once_by_many_workers_at_a_time(queue, tmp_path):
    jobs = [submitted(queue) for _ in range(40)]
    taken = Counter()

    def work():
        with JobQueue(tmp_path / "queue.sqlite3") as own:
            while job := own.claim(threading.current_thread().name, lease=60, attempts=3):
                taken[job.id] += 1
                own.complete(job, found=0, size=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == dict.fromkeys(jobs, 1)
    assert queue.states() == {"completed": 40}


def test_a_lease_lasts_as_long_as_its_heartbeats(queue, clock):
    submitted(queue)
    job = claimed(queue, lease=60)
    for _ in range(5):
        clock.now += 50
        assert queue.extend(job, lease=60)
    assert claimed(queue, "b") is None
    clock.now += 61
    again = claimed(queue, "b")
    assert (again.id, again.attempt, again.worker) == (job.id, 2, "b")


def test_a_worker_that_lost_its_job_changes_nothing_of_it(queue, clock):
    submitted(queue)
    lost = claimed(queue, lease=60)
    clock.now += 61
    job = claimed(queue, "b")
    assert not queue.extend(lost, lease=60)
    assert not queue.progress(lost, "late", 0.9)
    assert not queue.complete(lost, found=7, size=1)
    assert not queue.fail(lost, "late")
    assert queue.complete(job, found=2, size=1)
    assert queue.get(job.id).found == 2
    assert queue.counters()["completed"] == 1


def test_a_dead_worker_is_released_at_once_and_given_up_after_its_attempts(queue):
    job = submitted(queue)
    for _ in range(2):
        claimed(queue)
        assert queue.holders() == ["a"]
        assert queue.release("a", attempts=3) == 1
        assert queue.get(job).state == "queued"
    claimed(queue)
    queue.release("a", attempts=3)
    found = queue.get(job)
    assert found.state == "failed"
    assert "ended by the system 3 times" in found.error
    assert queue.counters()["retried"] == 2


def test_a_worker_that_is_asked_to_end_spends_no_attempt(queue):
    submitted(queue)
    for _ in range(5):
        assert queue.requeue(claimed(queue))
    assert claimed(queue).attempt == 1


def test_a_job_that_is_deleted_while_it_runs_is_removed_when_its_worker_lets_go(queue):
    job = submitted(queue)
    running = claimed(queue)
    assert not queue.delete(job)
    assert queue.get(job).state == "cancelled"
    assert not queue.progress(running, "stage", 0.5)
    assert queue.swept(keep_seconds=10, keep_bytes=10) == []
    queue.let_go(running)
    assert queue.swept(keep_seconds=10, keep_bytes=10) == [job]
    assert queue.get(job) is None


def test_a_cancelled_job_of_a_dead_worker_is_not_taken_again(queue):
    job = submitted(queue)
    claimed(queue)
    queue.delete(job)
    queue.release("a", attempts=3)
    assert claimed(queue) is None
    assert queue.swept(keep_seconds=10, keep_bytes=10) == [job]


def test_results_expire_by_age_and_the_oldest_by_size(queue, clock):
    jobs = []
    for _ in range(4):
        jobs.append(submitted(queue))
        queue.complete(claimed(queue), found=0, size=100)
        clock.now += 10
    waiting = submitted(queue)
    assert queue.swept(keep_seconds=1000, keep_bytes=400) == []
    # the two newest fit
    assert sorted(queue.swept(keep_seconds=1000, keep_bytes=250)) == sorted(jobs[:2])
    assert queue.stored() == 200
    assert queue.swept(keep_seconds=15, keep_bytes=250) == [jobs[2]]
    assert [queue.get(job).state for job in jobs] == ["expired"] * 3 + ["completed"]
    clock.now += 1001
    queue.swept(keep_seconds=1000, keep_bytes=250)
    assert queue.get(jobs[0]) is None
    assert queue.get(waiting).state == "queued"
    assert queue.counters()["expired"] == 4


def test_a_job_of_another_owner_is_none(queue):
    job = submitted(queue, owner="one")
    assert queue.get(job, owner="one").id == job
    assert queue.get(job, owner="two") is None
    assert queue.get(job, owner="") is None
    assert queue.jobs(owner="two") == []


def test_no_more_jobs_wait_than_may(queue):
    queue.submit(queue.new_id(), owner="", task="t", source="s", most=1)
    with pytest.raises(QueueFullError):
        queue.submit(queue.new_id(), owner="", task="t", source="s", most=1)
    claimed(queue)
    queue.submit(queue.new_id(), owner="", task="t", source="s", most=1)


def test_ids_are_long_and_differ(queue):
    ids = {queue.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {32}


def test_a_failed_change_leaves_nothing_behind(queue):
    job = submitted(queue)
    with pytest.raises(sqlite3.IntegrityError):
        queue.submit(job, owner="", task="t", source="s")
    assert queue.states() == {"queued": 1}
    assert queue.counters()["submitted"] == 1


def test_the_remaining_time_follows_from_the_share(queue, clock):
    submitted(queue)
    job = claimed(queue)
    assert job.seconds_left(clock.now + 10) is None
    queue.progress(job, "infer_shard", 0.25)
    assert queue.get(job.id).seconds_left(clock.now + 10) == 30
