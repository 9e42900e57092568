"""Jobs and nodes that die under a run: the same bytes in the end, and only what was lost again.

Each test begins where the shards of one small sample are to be computed.
"""

import shutil
from collections import Counter
from types import SimpleNamespace

import pytest
from cluster import command, wait_until
from runs import assert_same_results

PREDICTION = "results/a/prediction.ome.zarr"

#: Seconds within which a job starts, or is told to end.
PATIENCE = 300


@pytest.fixture(scope="module")
def prepared(clone, make_runnable, start):
    """Return a clone whose features are ready, and one that an undisturbed run has finished."""
    ready = clone("ready")
    project = make_runnable(ready)
    project.config["tasks"]["cell"]["inference"] = {"shards": 2, "window": None}
    project.write()
    start(ready, "--cores", "2", "results/a/features.zarr", "results/a/context.zarr").finish()
    undisturbed = ready.with_name("undisturbed")
    shutil.copytree(ready, undisturbed)
    start(undisturbed, "--cores", "2", PREDICTION).finish()
    return SimpleNamespace(ready=ready, undisturbed=undisturbed)


@pytest.fixture
def disturbed(cluster, prepared, start, tmp_path):
    """Start the shards on the cluster; return the run, its jobs, and how to judge its end."""
    folder = tmp_path / "run"
    shutil.copytree(prepared.ready, folder)
    before = {job["JobId"] for job in cluster.jobs()}
    run = start(folder, "--profile", "slurm", PREDICTION)

    def jobs(rule="infer_shard"):
        new = (job for job in cluster.jobs() if job["JobId"] not in before)
        return [job for job in new if job.rule == rule]

    def running():
        return [job for job in jobs() if job["JobState"] == "RUNNING"]

    def first_shard():
        wait_until(lambda: bool(running()), PATIENCE, f"a shard runs:\n{run.text}")
        return running()[0]

    def finish():
        run.finish()
        assert_same_results(folder / "results", prepared.undisturbed / "results")
        return Counter(job.wildcards for job in jobs()), len(jobs("blend_shards"))

    yield SimpleNamespace(run=run, jobs=jobs, first_shard=first_shard, finish=finish)
    run.end()


def test_a_cancelled_job_is_tried_again_alone(disturbed):
    job = disturbed.first_shard()
    command("scancel", job["JobId"])
    attempts, blendings = disturbed.finish()
    other = "a_2" if job.wildcards == "a_1" else "a_1"
    assert attempts == {job.wildcards: 2, other: 1}
    assert blendings == 1
    states = [each["JobState"] for each in disturbed.jobs() if each.wildcards == job.wildcards]
    assert sorted(states) == ["CANCELLED", "COMPLETED"]


def test_a_drained_node_takes_no_job_until_it_is_back_and_nothing_is_repeated(disturbed, cluster):
    def states():
        jobs = [*disturbed.jobs(), *disturbed.jobs("blend_shards")]
        return {job["JobState"] for job in jobs}

    disturbed.first_shard()
    node = f"NodeName={cluster.node}"
    command("scontrol", "update", node, "State=DRAIN", "Reason=test")
    try:
        wait_until(lambda: cluster.state() == "DRAINED", PATIENCE, "the node is drained")
        wait_until(lambda: "PENDING" in states(), PATIENCE, "a job waits for the node")
        assert states() <= {"COMPLETED", "PENDING"}
    finally:
        command("scontrol", "update", node, "State=RESUME")
    attempts, blendings = disturbed.finish()
    assert attempts == {"a_1": 1, "a_2": 1}
    assert blendings == 1


def test_shards_of_a_node_that_died_are_queued_again_by_slurm(disturbed, cluster):
    lost = disturbed.first_shard()
    cluster.kill_node()
    wait_until(lambda: cluster.state().startswith("DOWN"), PATIENCE, "Slurm misses the node")
    cluster.start_node()
    attempts, blendings = disturbed.finish()
    assert attempts == {"a_1": 1, "a_2": 1}
    assert blendings == 1
    again = next(job for job in disturbed.jobs() if job["JobId"] == lost["JobId"])
    assert (again["JobState"], again["Restarts"]) == ("COMPLETED", "1")


def test_a_job_that_hangs_is_killed_at_its_time_limit_and_gets_twice_as_long(disturbed, cluster):
    job = disturbed.first_shard()
    cluster.freeze(job)
    command("scontrol", "update", f"JobId={job['JobId']}", "TimeLimit=1")
    attempts, blendings = disturbed.finish()
    other = "a_2" if job.wildcards == "a_1" else "a_1"
    assert attempts == {job.wildcards: 2, other: 1}
    assert blendings == 1
    first, second = (each for each in disturbed.jobs() if each.wildcards == job.wildcards)
    assert (first["JobState"], second["JobState"]) == ("TIMEOUT", "COMPLETED")
    assert (job["TimeLimit"], second["TimeLimit"]) == ("00:20:00", "00:40:00")
    assert second.mem_mb == 2 * first.mem_mb
