"""What dies on a cluster is run again, what cannot be run is one sentence, nothing is half-written."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
from conftest import NODE, new_cluster

from parafovea.drivers.ray.cluster import connected


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


def test_a_job_that_is_killed_for_lack_of_memory_asks_for_more_and_then_says_so(
    monkeypatch, caplog, small_run
):
    # this machine counts as full when a gigabyte more than now is taken
    memory = psutil.virtual_memory()
    full = (memory.total - memory.available + 1.5e9) / memory.total
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{full:.4f}")
    monkeypatch.setenv("RAY_task_oom_retries", "-1")
    cluster = new_cluster(memory=3e9)
    try:
        once = small_run.add("once", "take_memory", megabytes=4000, times=1, memory=500e6)
        # a node that is full ends all its jobs, so one after the other
        never = {"megabytes": 4000, "times": 9, "memory": 500e6, "needs": (once,)}
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
