"""The default config through `snakemake --profile slurm`, judged by Slurm's own records."""

import re
from collections import Counter
from types import SimpleNamespace

import pytest
from runs import assert_same_results

GPU_RULES = {"extract_features", "extract_context", "infer_shard", "predict_tiles"}

#: Three cells of two shards each, three chests of one, and a folder of tiles.
JOBS = {
    "make_phantom": 3,
    "make_scan": 3,
    "resample_volume": 6,
    "extract_features": 6,
    "extract_context": 6,
    "infer_shard": 9,
    "blend_shards": 6,
    "segment_objects": 3,
    "measure_quality": 3,
    "render_report": 3,
    "detect_nodules": 3,
    "measure_detections": 3,
    "render_detections": 3,
    "make_landscape": 1,
    "predict_tiles": 1,
    "collect_tiles": 1,
    "measure_tiles": 1,
    "render_tiles": 1,
    "summarize_cohort": 1,
}


@pytest.fixture(scope="module")
def finished(cluster, clone, start):
    """Run the default config on the cluster and on this machine."""
    before = {job["JobId"] for job in cluster.jobs()}
    folder = clone("cluster")
    text = start(folder, "--profile", "slurm").finish()
    jobs = [job for job in cluster.jobs() if job["JobId"] not in before]
    local = clone("local")
    start(local, "--cores", "2").finish()
    return SimpleNamespace(folder=folder, local=local, text=text, jobs=jobs)


def test_every_job_ran_once_and_completed(finished):
    assert Counter(job.rule for job in finished.jobs) == JOBS
    assert {job["JobState"] for job in finished.jobs} == {"COMPLETED"}


def test_gpu_rules_ran_on_the_gpu_partition_with_a_gpu_and_no_other_rule_did(finished):
    places = {(job.rule, job["Partition"], job.gpus) for job in finished.jobs}
    assert places == {
        *((rule, "gpu", 1) for rule in GPU_RULES),
        *((rule, "cpu", 0) for rule in JOBS.keys() - GPU_RULES),
    }


def test_the_completion_log_says_the_same(finished, cluster):
    logged = {job["JobId"]: job for job in cluster.completions()}
    for job in finished.jobs:
        assert logged[job["JobId"]]["Partition"] == job["Partition"]
        assert logged[job["JobId"]]["JobState"] == "COMPLETED"


def test_results_are_those_of_a_local_run_byte_for_byte(finished):
    assert_same_results(finished.folder / "results", finished.local / "results")


def test_short_jobs_were_submitted_as_an_array(finished):
    phantoms = [job for job in finished.jobs if job.rule == "make_phantom"]
    assert len({job["ArrayJobId"] for job in phantoms}) == 1
    assert {job["ArrayTaskId"] for job in phantoms} == {"1", "2", "3"}


def test_jobs_carry_the_name_of_the_project_and_say_their_rule_and_sample(finished):
    assert all(job["JobName"].startswith("parafovea_") for job in finished.jobs)
    shards = {job.wildcards for job in finished.jobs if job.rule == "infer_shard"}
    cells = {f"cell_{seed}_{shard}" for seed in (101, 102, 103) for shard in (1, 2)}
    assert shards == cells | {f"chest_{seed}_1" for seed in (301, 302, 303)}


def test_no_job_took_more_memory_than_it_had_asked_for(finished):
    asked = {job.rule: job.mem_mb for job in finished.jobs}
    folder = finished.folder / "results" / "logs"
    files = {rule: f"cell_101/{rule}.log" for rule in JOBS} | {
        "make_phantom": "phantoms/cell_seed101.log",
        "make_scan": "phantoms/chest_seed301_scan.log",
        **{
            rule: f"chest_301/{rule}.log"
            for rule in ("detect_nodules", "measure_detections", "render_detections")
        },
        **{
            rule: f"landscape_401/{rule}.log"
            for rule in ("collect_tiles", "measure_tiles", "render_tiles")
        },
        "infer_shard": "cell_101/infer_shard_1.log",
        "predict_tiles": "landscape_401/predict_tiles_1.log",
        "make_landscape": "phantoms/landscape_seed401.log",
        "summarize_cohort": "summarize_cohort.log",
    }
    for rule, file in files.items():
        used = re.search(r"peak memory (\d+) MB", (folder / file).read_text())
        assert used is not None, rule
        assert 0 < int(used[1]) < asked[rule], rule


def test_logs_of_stages_are_kept_and_those_of_slurm_for_failed_jobs_alone(finished):
    logs = finished.folder / "results" / "logs"
    assert (logs / "cell_101" / "infer_shard_1.log").read_text()
    kept = {path.parent.name for path in (logs / "slurm").rglob("*.log")}
    # the executor forgets where it put those of arrays
    assert kept <= {"rule_make_phantom", "rule_measure_quality", "rule_render_report"}
