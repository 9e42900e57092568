"""What dies on a cluster runs again; what cannot run is one sentence; nothing is half-written."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from small_cluster import NODE, new_cluster

from parafovea.drivers.ray import schedule
from parafovea.drivers.ray.cluster import connected
from parafovea.errors import ClusterError


def leftovers(folder: Path) -> list[str]:
    """Return the names of what was half-written."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_killed_worker_and_a_dead_actor_run_again_and_what_always_dies_fails_alone(
    connection, small_run
):
    small_run.add("task", "die", times=1)
    small_run.add("actor", "die", on_gpu=True, times=1)
    always = small_run.add("always", "die", owner="doomed", times=9)
    small_run.add("after", "write", owner="heir", needs=(always,))
    small_run.add("good", "write")
    failed = small_run.run(connection)

    assert [small_run.text(name) for name in ("task", "actor", "good")] == ["2", "2", "done"]
    assert failed["task"] is failed["actor"] is failed["good"] is None
    assert "always was ended 3 times by the system" in failed["doomed"]
    assert failed["heir"] == "it needs the result of 'doomed', which failed"
    assert not (small_run.folder / "after").exists()
    assert small_run.steps[-1].failed == 2
    assert small_run.steps[-1].scans_done == small_run.steps[-1].scans == 5


def test_a_node_that_leaves_takes_no_job_with_it(ray_cluster, connection, small_run):
    guest = ray_cluster.add_node(**NODE)
    for number in range(3):
        small_run.add(f"actor_{number}", "describe_process", on_gpu=True, seconds=4)
    for number in range(6):
        small_run.add(f"task_{number}", "describe_process", seconds=4)
    gone: list[str] = []

    def leave(progress):
        busy = sum(name.startswith("actor") for name in progress.running)
        if not gone and busy == 3 and len(progress.running) > 5:
            gone.append(guest.node_id)
            threading.Thread(
                target=ray_cluster.remove_node, args=(guest,), kwargs={"allow_graceful": False}
            ).start()

    small_run.watch = leave
    failed = small_run.run(connection)
    assert gone
    assert set(failed.values()) == {None}
    assert len(failed) == 9
    assert all((small_run.folder / item.name).is_file() for item in small_run.items)


def test_a_job_that_is_killed_for_lack_of_memory_asks_for_more_and_then_says_so(caplog, small_run):
    # the machine counts as full when that much more is taken than now, which leaves room for what
    # else runs on it
    memory = psutil.virtual_memory()
    room = min(4e9, memory.available / 3)
    full = (memory.total - memory.available + room) / memory.total
    needed = int(room / 1e6) + 2500
    cluster = new_cluster(memory=3e9, config={"memory_usage_threshold": round(full, 4)})
    try:
        once = small_run.add("once", "take_memory", megabytes=needed, times=1, memory=500e6)
        # a node that is full ends all its jobs, so one after the other
        never = {"megabytes": needed, "times": 9, "memory": 500e6, "needs": (once,)}
        small_run.add("never", "take_memory", **never)
        with connected(cluster.address) as connection:
            failed = small_run.run(connection, num_gpus=0)
    finally:
        cluster.shutdown()
    assert failed["once"] is None
    assert small_run.text("once") == "2"
    assert failed["never"].startswith("never needs more memory than the 3,000 MB that it asked for")
    # once more with twice the memory, and once with all that the node has
    killed = [text for text in caplog.messages if text.startswith("never was ended for lack of")]
    assert len(killed) == 3


def test_each_gpu_actor_sees_its_own_device_and_a_cpu_task_none(connection, small_run):
    for number in range(3):
        small_run.add(f"gpu_{number}", "describe_process", on_gpu=True, seconds=3)
        small_run.add(f"cpu_{number}", "describe_process")
    assert set(small_run.run(connection).values()) == {None}

    found = [json.loads(small_run.text(item.name)) for item in small_run.items]
    on_gpus, on_cpus = found[::2], found[1::2]
    # two devices of one node, and one of the other
    assert {facts["visible"] for facts in on_gpus} <= {"0", "1"}
    devices = {(facts["node"], facts["visible"]): facts["process"] for facts in on_gpus}
    processes = {facts["process"]: (facts["node"], facts["visible"]) for facts in on_gpus}
    assert len(devices) == len(processes)
    assert {facts["device"] for facts in on_gpus} == {None}
    assert {(facts["visible"], facts["device"]) for facts in on_cpus} == {("", "cpu")}
    # threads change the rounding of sums, so they are those of the run
    assert {facts["threads"] for facts in found} == {"1"}
    assert {facts["folder"] for facts in found} == {str(small_run.folder)}


def test_without_gpus_actors_compute_on_the_cpus(connection, small_run):
    small_run.add("actor", "describe_process", on_gpu=True)
    small_run.add("task", "describe_process")
    small_run.run(connection, num_gpus=0)
    facts = [json.loads(small_run.text(name)) for name in ("actor", "task")]
    assert {(each["visible"], each["device"]) for each in facts} == {("", "cpu")}


@pytest.fixture
def interruptible():
    """Take interrupts, which a shell that runs the tests in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_all_jobs_and_leaves_nothing_half_written(connection, small_run):
    small_run.add("actor", "write", on_gpu=True, seconds=90)
    small_run.add("task", "write", seconds=90)
    small_run.add("finished", "write")
    began: list[float] = []

    def interrupt(progress):
        if len(leftovers(small_run.folder)) == 2 and not began:
            began.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    small_run.watch = interrupt
    with pytest.raises(KeyboardInterrupt):
        small_run.run(connection)
    assert time.monotonic() - began[0] < 45
    assert {path.name for path in small_run.folder.iterdir()} <= {"finished"}

    # the cluster is free for the next run
    again = type(small_run)(small_run.folder)
    again.add("actor", "write", on_gpu=True)
    assert again.run(connection) == {"actor": None}


def test_a_mistake_on_a_node_fails_its_own_job_with_its_words(connection, small_run, caplog):
    small_run.add("misspelt", "wriet")
    small_run.add("good", "write")
    failed = small_run.run(connection)
    assert failed["good"] is None
    assert failed["misspelt"] == "AttributeError: module 'cluster_jobs' has no attribute 'wriet'"
    assert "which was not foreseen" in caplog.text


def test_a_cluster_without_gpus_for_the_rest_of_the_work_is_given_up(monkeypatch, small_run):
    monkeypatch.setattr(schedule, "STALLED", 3.0)
    monkeypatch.setattr(schedule, "COUNT", 0.5)
    cluster = new_cluster(num_gpus=0)
    guest = cluster.add_node(**NODE)
    gone: list[bool] = []

    def leave(progress):
        if leftovers(small_run.folder) and not gone:
            gone.append(True)
            threading.Thread(
                target=cluster.remove_node, args=(guest,), kwargs={"allow_graceful": False}
            ).start()

    small_run.add("actor", "write", on_gpu=True, seconds=90)
    small_run.watch = leave
    try:
        with (
            connected(cluster.address) as connection,
            pytest.raises(ClusterError, match=r"no GPU is left in the Ray cluster at .*: add"),
        ):
            small_run.run(connection)
    finally:
        cluster.shutdown()


def test_jobs_at_work_that_all_wait_for_one_that_comes_last_let_it_begin(connection, small_run):
    for number in range(12):
        small_run.add(f"waiting_{number}", "write", needs=(12,))
    small_run.add("last", "write")
    assert set(small_run.run(connection).values()) == {None}
    assert small_run.text("waiting_0") == "done"
