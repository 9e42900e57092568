"""Actors and tasks share the GPUs, CPUs and memory of a cluster so that none waits for ever."""

from __future__ import annotations

import pytest

from parafovea.drivers.ray.cluster import Node, job_environment
from parafovea.drivers.ray.staff import staff_of
from parafovea.errors import ClusterError

GB = 1e9


def test_each_gpu_has_an_actor_and_no_more_than_there_are_jobs() -> None:
    nodes = [Node(8, 4, 64 * GB), Node(8, 0, 32 * GB)]
    staff = staff_of(nodes, num_gpus=None, gpu_jobs=100, memory=4 * GB)
    assert (staff.actors, staff.on_gpus, staff.actor_memory) == (4, True, 4 * GB)
    assert (staff.slots, staff.room) == (16, 48 * GB)
    assert staff_of(nodes, num_gpus=None, gpu_jobs=2, memory=GB).actors == 2
    assert staff_of(nodes, num_gpus=3, gpu_jobs=100, memory=GB).actors == 3


def test_actors_of_a_small_node_leave_memory_for_tasks() -> None:
    staff = staff_of([Node(8, 8, 16 * GB)], num_gpus=None, gpu_jobs=100, memory=4 * GB)
    assert staff.actors == 8
    assert staff.actors * staff.actor_memory <= 0.75 * 16 * GB
    assert staff.room == 4 * GB


def test_without_gpus_each_cpu_has_an_actor_as_far_as_memory_goes() -> None:
    nodes = [Node(2, 0, 16 * GB)]
    for wanted in (None, 0):
        staff = staff_of(nodes, num_gpus=wanted, gpu_jobs=9, memory=4 * GB)
        assert (staff.actors, staff.on_gpus, staff.room) == (2, False, 8 * GB)
    crowded = staff_of([Node(64, 0, 16 * GB)], num_gpus=0, gpu_jobs=99, memory=4 * GB)
    assert (crowded.actors, crowded.room) == (3, 4 * GB)
    tight = staff_of([Node(4, 0, 2 * GB)], num_gpus=0, gpu_jobs=99, memory=4 * GB)
    assert (tight.actors, tight.actor_memory, tight.room) == (1, 1.5 * GB, 0.5 * GB)


def test_gpus_that_are_not_there_are_refused() -> None:
    with pytest.raises(ClusterError, match="3 GPUs are asked for, but the Ray cluster has 2: ask"):
        staff_of([Node(2, 2, GB)], num_gpus=3, gpu_jobs=1, memory=GB)
    with pytest.raises(ClusterError, match="1 GPUs are asked for, but the Ray cluster has none"):
        staff_of([Node(2, 0, GB)], num_gpus=1, gpu_jobs=1, memory=GB)
    with pytest.raises(ClusterError, match="no CPU for tasks"):
        staff_of([Node(0, 1, GB)], num_gpus=None, gpu_jobs=1, memory=GB)


def test_jobs_have_the_threads_of_the_run_and_its_variables_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PARAFOVEA_DEVICE", "cuda:1")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    monkeypatch.setenv("PYTHONPATH", "/a:b")
    monkeypatch.chdir("/tmp")  # noqa: S108
    on_gpu, on_cpu = job_environment(4, gpu=True), job_environment(4, gpu=False)
    assert on_gpu["OMP_NUM_THREADS"] == on_cpu["OMP_NUM_THREADS"] == "4"
    assert on_gpu["SOURCE_DATE_EPOCH"] == "7"
    assert on_gpu["PYTHONPATH"] == "/a:/tmp/b"
    # Ray numbers the devices of an actor; a task has none
    assert not {"PARAFOVEA_DEVICE", "CUDA_VISIBLE_DEVICES"} & set(on_gpu)
    assert (on_cpu["PARAFOVEA_DEVICE"], on_cpu["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")
    assert "PATH" not in on_cpu
