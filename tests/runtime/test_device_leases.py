"""Which GPU a job gets, with pretend devices and real processes."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from snakemake.iocontainers import InputFiles, OutputFiles

from parafovea.drivers.job import stage
from parafovea.errors import ConfigError
from parafovea.runtime import device_leases
from parafovea.runtime.device_leases import VISIBLE, leased, visible_devices
from parafovea.runtime.devices import DEVICE_VARIABLE

HOLDER = """
import sys
from pathlib import Path
from parafovea.runtime.device_leases import leased

with leased(sys.argv[2:], folder=Path(sys.argv[1])) as device:
    print(device, flush=True)
    sys.stdin.readline()
"""

WORKFLOW = """
rule all:
    input:
        expand("{job}.txt", job=range(6)),

rule work:
    output:
        "{job}.txt",
    resources:
        gpu=1,
    script:
        "work.py"
"""

SCRIPT = """
import time
from pathlib import Path
from parafovea.runtime.device_leases import leased

with leased(["0", "1"], folder=Path("locks")) as device:
    busy = Path(f"busy{device}")
    busy.touch(exist_ok=False)  # fails where another job computes on it
    time.sleep(0.3)
    busy.unlink()
Path(snakemake.output[0]).write_text(device)
"""


@pytest.fixture
def hold(tmp_path):
    """Return a function that starts a process which holds one of some devices, and says which."""
    processes = []

    def start(*devices):
        command = [sys.executable, "-c", HOLDER, tmp_path, *devices]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, **pipes)
        processes.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_each_process_gets_a_device_of_its_own_and_gives_it_back(hold, tmp_path):
    first, one = hold("0", "1", "2")
    _, two = hold("0", "1", "2")
    _, three = hold("0", "1", "2")
    assert {one, two, three} == {"0", "1", "2"}
    first.communicate("\n")
    with leased(["0", "1", "2"], folder=tmp_path) as device:
        assert device == one


def test_a_killed_process_leaves_its_device_free(hold, tmp_path):
    process, _ = hold("0")
    process.kill()
    process.wait()
    with leased(["0"], folder=tmp_path) as device:
        assert device == "0"


def test_a_job_waits_for_a_device_and_says_so(hold, tmp_path, caplog, monkeypatch):
    process, _ = hold("0")
    said_while_waiting = []

    def end_the_other(seconds):
        said_while_waiting.extend(caplog.messages)
        process.communicate("\n")

    monkeypatch.setattr(device_leases.time, "sleep", end_the_other)
    with caplog.at_level("INFO"), leased(["0"], folder=tmp_path) as device:
        assert device == "0"
    assert len(said_while_waiting) == 1
    assert "all 1 GPUs are in use" in said_while_waiting[0]
    assert "--resources gpu=1" in said_while_waiting[0]


def test_six_jobs_of_snakemake_share_two_devices_and_never_one(tmp_path):
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "work.py").write_text(SCRIPT)
    (tmp_path / "locks").mkdir()
    command = [sys.executable, "-m", "snakemake", "--cores", "4", "--resources", "gpu=2"]
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    used = [(tmp_path / f"{job}.txt").read_text() for job in range(6)]
    assert set(used) == {"0", "1"}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Return a job that asks for a GPU on a machine with two, with locks in a folder apart."""
    monkeypatch.setattr(device_leases, "_own_folder", lambda: tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.delenv(DEVICE_VARIABLE, raising=False)
    facts = {"rule": "infer_shard", "wildcards": {}, "threads": torch.get_num_threads()}
    facts |= {"input": InputFiles(), "output": OutputFiles(), "params": {}}
    return SimpleNamespace(log=[str(tmp_path / "log")], resources={"gpu": 1}, **facts)


def test_a_script_shows_cuda_the_device_it_took(job, hold):
    _, taken = hold("0", "1")
    with stage(job):
        assert os.environ[VISIBLE] == {"0": "1", "1": "0"}[taken]
    assert VISIBLE not in os.environ
    assert "using GPU" in Path(job.log[0]).read_text()


def test_devices_that_the_user_chose_are_shared_among_them_alone(job, monkeypatch):
    monkeypatch.setenv(VISIBLE, "5,GPU-8f2a")
    assert visible_devices(2) == ["5", "GPU-8f2a"]
    with stage(job):
        assert os.environ[VISIBLE] == "5"
    assert os.environ[VISIBLE] == "5,GPU-8f2a"


@pytest.mark.parametrize(
    ("resources", "count", "chosen"),
    [({}, 2, None), ({"gpu": 1}, 1, None), ({"gpu": 1}, 0, None), ({"gpu": 1}, 2, "cuda:1")],
)
def test_nothing_is_taken_where_there_is_no_choice(job, monkeypatch, resources, count, chosen):
    job.resources = resources
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if chosen:
        monkeypatch.setenv(DEVICE_VARIABLE, chosen)
    with stage(job):
        assert VISIBLE not in os.environ


def test_locks_of_a_slurm_allocation_are_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(device_leases.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with leased(["0"]):
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        with leased(["0"]) as device:
            assert device == "0"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_of_someone_else_is_refused_with_the_fix(job, monkeypatch, capsys):
    def refuse():
        raise ConfigError("the folder belongs to another user: remove it")

    monkeypatch.setattr(device_leases, "_own_folder", refuse)
    with pytest.raises(SystemExit), stage(job):
        raise AssertionError
    assert "belongs to another user" in capsys.readouterr().err
