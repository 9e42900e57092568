"""Runs that are killed, or whose disk or source fails them, and the runs after them.

Not collected by `make test`: `make test-kill` runs it, which takes minutes.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import tifffile
import yaml
from lasting import lasting

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
COMMAND += ["--cores", "1"]

#: Two kills in each part of a run: its start, and each of its jobs.
PARTS = 10
MOMENTS = 20
#: How many of them, the first ones, are tried.
TRIED = int(os.environ.get("PARAFOVEA_KILL_MOMENTS", MOMENTS))
SEED = 4

#: What snakemake says when a job begins: its message, or its rule where it has none.
JOB = re.compile(r"Job \d+: |localrule all:")

#: What a run removes on its way where it need not keep it.
INTERMEDIATE = ("features.zarr/", "context.zarr/", "shards/")


def start(folder, *arguments):
    """Start a run in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(folder, *arguments):
    """Run to the end, and return the status and what was said."""
    run = start(folder, *arguments)
    text, _ = run.communicate()
    return run.returncode, text


def contents(results):
    """Return a hash of every file but logs, timings and Snakemake's own stamps."""
    return {
        path.relative_to(results).as_posix(): hashlib.sha256(lasting(path)).hexdigest()
        for path in results.rglob("*")
        if path.is_file()
        and path.name != ".snakemake_timestamp"
        and path.relative_to(results).parts[0] not in ("logs", "benchmarks")
    }


def leftovers(folder):
    """Return what no user should have to remove: locks, and results that are not whole."""
    locks = folder / ".snakemake" / "locks"
    partial = [
        p for kind in ("partial", "scratch") for p in (folder / "results").rglob(f".*.{kind}-*")
    ]
    return [*(locks.iterdir() if locks.is_dir() else ()), *partial]


def group_members(group):
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.fixture(scope="module")
def project(make_runnable, tmp_path_factory):
    """Return the folder of a project that has not been run."""
    return make_runnable(tmp_path_factory.mktemp("project")).path


@pytest.fixture
def fresh(project, tmp_path):
    """Return a copy of the project."""
    return Path(shutil.copytree(project, tmp_path / "copy"))


@pytest.fixture(scope="module")
def undisturbed(project, tmp_path_factory):
    """Run a copy of the project to its end; return its results and how long each part took."""
    folder = shutil.copytree(project, tmp_path_factory.mktemp("undisturbed") / "copy")
    run = start(folder)
    began = [time.monotonic()]
    text = []
    for line in run.stdout:
        text.append(line)
        if JOB.match(line):
            began.append(time.monotonic())
    run.communicate()
    assert run.returncode == 0, "".join(text)
    assert len(began) >= PARTS
    took = [after - before for before, after in itertools.pairwise(began)]
    return SimpleNamespace(contents=contents(folder / "results"), took=took[:PARTS])


def moments():
    """Return twenty seeded moments: after how many jobs began, and at which share of the part."""
    shares = np.random.default_rng(SEED).random(MOMENTS)
    return [(n % PARTS, float(shares[n].round(2)), n >= PARTS) for n in range(TRIED)]


def killed(folder, jobs, seconds):
    """Start a run, kill it so many seconds after so many of its jobs began, and return it.

    It is tried again, sooner, if the run was over by then: the machine may have been busy before.
    """
    for attempt in range(4):
        run = start(folder)
        begun = 0
        while begun < jobs:
            line = run.stdout.readline()
            assert line, f"the run ended before job {jobs}"
            begun += bool(JOB.match(line))
        time.sleep(seconds / 2**attempt)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        if run.returncode == -signal.SIGKILL:
            return run
        assert run.returncode == 0
        for made in ("results", ".snakemake"):
            shutil.rmtree(folder / made)
    raise AssertionError(f"the run was always over {seconds} s after {jobs} of its jobs began")


@pytest.mark.parametrize(("jobs", "share", "lean"), moments())
def test_a_run_that_is_killed_ends_with_the_same_bytes(fresh, undisturbed, jobs, share, lean):
    if lean:
        file = fresh / "config" / "config.yaml"
        file.write_text(
            yaml.safe_dump({**yaml.safe_load(file.read_text()), "keep_features": False})
        )
    run = killed(fresh, jobs, share * undisturbed.took[jobs])
    for process in group_members(run.pid):
        process.wait(timeout=10)
    had_lock = bool(list((fresh / ".snakemake" / "locks").glob("*.lock")))
    status, text = finish(fresh)
    assert status == 0, text
    assert ("its lock is removed" in text) == had_lock
    assert "Traceback" not in text
    expected = {
        name: digest
        for name, digest in undisturbed.contents.items()
        if not (lean and name.partition("/")[2].startswith(INTERMEDIATE))
    }
    assert contents(fresh / "results") == expected
    assert leftovers(fresh) == []
    status, text = finish(fresh, "--dry-run")
    assert "Nothing to be done" in text


#: Jobs of a run of a sample in blocks after which it is killed: in parts, and in a joining job.
IN_BLOCKS = (6, 13, 24)


@pytest.fixture(scope="module")
def divided(make_runnable, tmp_path_factory):
    """Return a project whose sample is in three blocks, and its results from a single block."""
    folder = make_runnable(tmp_path_factory.mktemp("divided") / "project")
    image = np.random.default_rng(1).integers(0, 256, (66, 260, 40), np.uint8)
    for name, voxels in (("a", image), ("a_truth", (image > 200).astype(np.uint8))):
        tifffile.imwrite(folder.path / f"data/{name}.tif", voxels, photometric="minisblack")
    task = folder.config["tasks"]["cell"]
    task["inference"] = {"shards": 2, "overlap": 0.0}
    folder.write()
    one = Path(shutil.copytree(folder.path, tmp_path_factory.mktemp("one") / "copy"))
    assert finish(one)[0] == 0
    task["blocks"] = 3
    folder.write()
    return SimpleNamespace(path=folder.path, contents=results_of(one))


def results_of(folder):
    """Return the contents of a sample's results, without records of what made them."""
    return {
        name: digest
        for name, digest in contents(folder / "results").items()
        if name.startswith("a/")
        and not name.startswith(("a/shards/", "a/blocks/"))
        and ".made" not in name
    }


@pytest.mark.parametrize("jobs", IN_BLOCKS)
def test_a_sample_in_blocks_that_is_killed_ends_with_the_bytes_of_one_block(
    divided, tmp_path, jobs
):
    folder = Path(shutil.copytree(divided.path, tmp_path / "copy"))
    run = killed(folder, jobs, 1.0)
    for process in group_members(run.pid):
        process.wait(timeout=10)
    status, text = finish(folder)
    assert status == 0, text
    assert results_of(folder) == divided.contents
    assert leftovers(folder) == []
    parts = [path for path in (folder / "results/a/blocks").rglob("*") if path.is_file()]
    kept = {path.parent.name for path in parts if ".made" not in path.parts}
    assert kept == {"quality"}
    status, text = finish(folder, "--dry-run")
    assert "Nothing to be done" in text


#: A change for each stage: settings of the task, or of the model.
CHANGES = {
    "resample_volume": {"model": {"normalization": {"low": 1.0}}},
    "extract_features": {"model": {"backbone": {"arguments": {"scales": [1.0, 2.0, 3.0]}}}},
    "extract_context": {"model": {"context": {"spacing": [32, 32, 32]}}},
    "infer_shard": {"task": {"inference": {"overlap": 0.25}}},
    "blend_shards": {"task": {"inference": {"output_scale": 0.5, "window": None}}},
    "segment_objects": {"task": {"postprocess": {"classes": {"nucleus": {"min_voxels": 9}}}}},
    "measure_quality": {"task": {"quality": {"limits": {"entropy": {"max": 1}}}}},
    "render_report": {"task": {"report": {"slices": 1}}},
    "summarize_cohort": {"task": {"quality": {"limits": {"entropy": {"max": 2}}}}},
}


def merged(below, above):
    """Return nested mappings, those of `above` taking precedence."""
    both = {
        key: merged(below[key], above[key])
        for key in below.keys() & above.keys()
        if isinstance(below[key], dict) and isinstance(above[key], dict)
    }
    return {**below, **above, **both}


def change(folder, values):
    """Change settings of a project's task or of its model."""
    config, model = folder / "config" / "config.yaml", folder / "models" / "cell" / "model.json"
    if "task" in values:
        given = {"tasks": {"cell": values["task"]}}
        config.write_text(yaml.safe_dump(merged(yaml.safe_load(config.read_text()), given)))
    else:
        model.write_text(json.dumps(merged(json.loads(model.read_text()), values["model"])))


def kill_job(run, stage):
    """Kill the script of a stage, and nothing else, as a kernel that runs out of memory does."""
    while run.poll() is None:
        for process in group_members(run.pid):
            try:
                script = process.cmdline()[-1]
            except (psutil.NoSuchProcess, IndexError):
                continue
            if script.endswith(f".{stage}.py"):
                process.kill()
                return
        time.sleep(0.005)
    raise AssertionError(f"the run ended without a job of {stage}")


def scripts_of(stage):
    """Return the name of the script that a stage runs."""
    return "extract_features" if stage == "extract_context" else stage


@pytest.mark.parametrize("stage", CHANGES)
def test_a_job_that_is_killed_after_a_change_is_made_by_the_next_run(
    fresh, project, tmp_path, stage
):
    """Once forgotten: the second run said that nothing was to be done, beside old results."""
    assert finish(fresh)[0] == 0
    before = contents(fresh / "results")
    change(fresh, CHANGES[stage])
    run = start(fresh)
    kill_job(run, scripts_of(stage))
    text, _ = run.communicate()
    assert run.returncode == 1, text
    status, text = finish(fresh)
    assert status == 0, text
    assert "Nothing to be done" not in text
    expected = Path(shutil.copytree(project, tmp_path / "expected"))
    change(expected, CHANGES[stage])
    assert finish(expected)[0] == 0
    assert contents(fresh / "results") == contents(expected / "results") != before
    status, text = finish(fresh, "--dry-run")
    assert "Nothing to be done" in text


def test_a_job_that_outlives_its_run_is_not_joined_by_another(fresh, undisturbed):
    run = start(fresh)
    for line in run.stdout:
        if "a: inference, shard 1" in line:
            break
    log = fresh / "results/logs/a/infer_shard_1.log"
    while not log.exists():
        time.sleep(0.05)
    run.kill()
    run.wait()
    jobs = group_members(run.pid)
    assert jobs, "the job ended too soon"
    for job in jobs:
        job.suspend()
    try:
        status, text = finish(fresh)
    finally:
        for job in jobs:
            job.resume()
    assert status == 1
    assert "Note: another run, or a job that a killed one left, is at work here" in text
    run.communicate()
    psutil.wait_procs(jobs)
    status, text = finish(fresh)
    assert status == 0, text
    assert contents(fresh / "results") == undisturbed.contents
    assert leftovers(fresh) == []


@pytest.fixture
def mounted(fresh):
    """Return a function that mounts a small disk at the folder of results, or changes it."""
    results = fresh / "results"
    results.mkdir()
    done = []

    def mount(options):
        again = ["-o", f"remount,{options}"] if done else ["-o", options]
        made = subprocess.run(
            ["mount", "-t", "tmpfs", *again, "tmpfs", results], capture_output=True, text=True
        )
        if made.returncode != 0:
            pytest.skip(f"only root can mount a small disk: {made.stderr.strip()}")
        done.append(options)

    yield mount
    if done:
        subprocess.run(["umount", results], check=True)


def test_a_full_disk_is_one_error_and_the_next_run_recovers(fresh, undisturbed, mounted):
    mounted("size=420k")
    status, text = finish(fresh)
    assert status == 1
    found = re.findall(r"^ERROR .*", text, re.MULTILINE)
    assert len(set(found)) == 1, text
    assert "cannot be written, the disk is full" in found[0]
    assert "Traceback" not in text
    mounted("size=100m")
    status, text = finish(fresh)
    assert status == 0, text
    assert contents(fresh / "results") == undisturbed.contents
    assert leftovers(fresh) == []


def test_a_read_only_folder_is_one_error_before_any_job(fresh, undisturbed, mounted):
    mounted("ro,size=100m")
    status, text = finish(fresh)
    assert status == 1
    assert "results cannot be written to (its file system is read-only)" in text
    assert "Traceback" not in text
    assert not list((fresh / "results").iterdir())
    mounted("rw,size=100m")
    status, text = finish(fresh)
    assert status == 0, text
    assert contents(fresh / "results") == undisturbed.contents


def test_a_source_that_disappears_halfway_is_one_error_and_the_next_run_recovers(
    fresh, undisturbed
):
    source = fresh / "data" / "a.tif"
    original = source.read_bytes()
    # large enough to be read for a while
    tifffile.imwrite(
        source,
        tifffile.imread(source).repeat(24, 0).repeat(8, 1).repeat(8, 2),
        photometric="minisblack",
    )
    run = start(fresh)
    log = fresh / "results/logs/a/resample_volume.log"
    while "data/a.tif" not in (log.read_text() if log.exists() else ""):
        assert run.poll() is None
        time.sleep(0.01)
    source.unlink()
    text, _ = run.communicate()
    assert run.returncode == 1
    found = re.findall(r"^ERROR .*", text, re.MULTILINE)
    assert len(set(found)) == 1, text
    assert "data/a.tif changed or disappeared while it was read" in found[0]
    assert "Traceback" not in text
    assert not (fresh / "results/a").exists() or not list((fresh / "results/a").iterdir())
    status, text = finish(fresh)
    assert status == 1
    assert "data/a.tif does not exist" in text
    source.write_bytes(original)
    status, text = finish(fresh)
    assert status == 0, text
    assert contents(fresh / "results") == undisturbed.contents
