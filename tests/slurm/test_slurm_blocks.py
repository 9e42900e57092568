"""A volume in eight blocks on the cluster: side by side, one of them killed, the same bytes."""

import shutil
from collections import Counter

import numpy as np
import pytest
import tifffile
from cluster import command, wait_until

#: Several shards of every array.
SHAPE = (66, 260, 300)
BLOCKS = 8
ARRAYS = ("volume.ome.zarr", "features.zarr", "context.zarr", "prediction.ome.zarr")
PATIENCE = 600


def bytes_of(folder):
    """Return the bytes of every file of a sample's arrays."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for name in ARRAYS
        for path in (folder / name).rglob("*")
        if path.is_file() and path.name not in (".made.json", ".snakemake_timestamp")
    }


@pytest.fixture
def project(clone, make_runnable):
    """Return a clone with a sample in blocks, and a copy with the same sample in one block."""
    folder = clone("blocks")
    made = make_runnable(folder)
    image = np.random.default_rng(2).integers(0, 256, SHAPE, np.uint8)
    tifffile.imwrite(folder / "data/a.tif", image, photometric="minisblack")
    task = made.config["tasks"]["cell"]
    task["inference"] = {"shards": 2, "overlap": 0.0}
    made.write()
    one = shutil.copytree(folder, folder.with_name("one"))
    task["blocks"] = BLOCKS
    made.write()
    return folder, one


def test_blocks_run_side_by_side_and_one_that_is_killed_is_made_again(
    cluster, project, start, tmp_path
):
    folder, one = project
    before = {job["JobId"] for job in cluster.jobs()}
    run = start(folder, "--profile", "slurm", "results/a/prediction.ome.zarr")

    def jobs(rule):
        new = (job for job in cluster.jobs() if job["JobId"] not in before)
        return [job for job in new if job.rule == rule]

    def running():
        return [job for job in jobs("scan_block") if job["JobState"] == "RUNNING"]

    wait_until(lambda: len(running()) > 1, PATIENCE, f"blocks run side by side:\n{run.text}")
    victim = running()[0]
    command("scancel", victim["JobId"])
    run.finish()
    attempts = Counter(job.wildcards for job in jobs("scan_block"))
    assert len(attempts) == BLOCKS
    assert attempts[victim.wildcards] == 2
    assert sum(attempts.values()) == BLOCKS + 1
    for rule in ("resample_volume_block", "extract_features_block", "blend_shards_block"):
        assert len(jobs(rule)) == BLOCKS
    start(one, "--cores", "2", "results/a/prediction.ome.zarr").finish()
    assert bytes_of(folder / "results/a") == bytes_of(one / "results/a")
