import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from parafovea.errors import SourceError, StoreError
from parafovea.runtime.runs import (
    LOCK,
    Run,
    at_work,
    readable_storage,
    require_writable,
    storage_error,
)

HOST = socket.gethostname()


@pytest.fixture
def state(tmp_path):
    """Return Snakemake's folder, with the locks that a killed run leaves."""
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("data/a.tif\n")
    (locks / "0.output.lock").write_text("results/a/volume.ome.zarr\n")
    return locks.parent


@pytest.fixture
def other(state):
    """Return a process that is at work in the folder."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom parafovea.runtime.runs import Run\n"
        "run = Run(Path(sys.argv[1]), job=len(sys.argv) > 2)\nprint(run.notice, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, state]
    (state / LOCK).touch()

    def start(*words):
        process = subprocess.Popen(
            [*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    started = []
    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_lock_of_a_run_that_was_killed_is_removed_with_a_note(state, other):
    process, notice = other()
    assert "was killed" in notice  # what the fixture wrote
    (state / "locks").mkdir()
    (state / "locks" / "0.output.lock").write_text("results/a\n")
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = Run(state)
    assert run.notice.startswith("an earlier run was killed: its lock is removed")
    assert not (state / "locks").exists()
    run.close()


def test_the_lock_of_a_run_that_lives_stays(state, other):
    _, _ = other()
    (state / "locks").mkdir()
    (state / "locks" / "0.output.lock").write_text("results/a\n")
    run = Run(state)
    assert "is at work here" in run.notice
    assert (state / "locks" / "0.output.lock").is_file()
    run.close()
    assert at_work(state)


def test_a_job_that_outlives_its_run_keeps_the_lock(state, other):
    other("job")
    run = Run(state)
    assert "a job that a killed one left" in run.notice
    assert any((state / "locks").iterdir())
    run.close()


@pytest.mark.parametrize(
    ("content", "named"),
    [("node7\n", "on node7 "), (f"{HOST}\nits jobs run elsewhere\n", "an earlier run left")],
)
def test_a_lock_of_another_machine_or_of_a_cluster_stays_and_the_note_says_how(
    state, content, named
):
    (state / LOCK).write_text(content)
    run = Run(state)
    assert named in run.notice
    assert run.notice.endswith("remove its lock with: snakemake --unlock")
    assert "\n" not in run.notice
    assert any((state / "locks").iterdir())
    run.close()


def test_machines_of_runs_that_ended_well_are_forgotten(state):
    for file in (state / "locks").iterdir():
        file.unlink()
    (state / LOCK).write_text("node7\n")
    run = Run(state)
    assert run.notice == ""
    assert (state / LOCK).read_text() == f"{HOST}\n"
    run.goes_elsewhere()
    assert (state / LOCK).read_text() == f"{HOST}\nits jobs run elsewhere\n"
    run.close()


def test_a_file_system_without_locks_is_left_to_snakemake(state, monkeypatch):
    def refuse(file, kind):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    run = Run(state)
    assert run.notice == ""
    assert any((state / "locks").iterdir())
    assert not at_work(state)


def test_a_job_outside_of_a_workflow_leaves_nothing(tmp_path):
    Run(tmp_path / ".snakemake", job=True).close()
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_results_is_an_error(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(StoreError, match=r"results is a file.*remove or rename"):
        require_writable(tmp_path / "results" / "a")
    require_writable(tmp_path / "new" / "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_folder_without_permission_is_an_error(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match="permission denied"):
        require_writable(tmp_path / "results")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (RuntimeError("No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("PyTorchStreamWriter: No space left on device"), "the disk is full"),
        (OSError(errno.EFBIG, "File too large"), "a file became larger than"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the quota of the disk is used up"),
        (OSError(errno.EROFS, "Read-only file system"), "the file system is read-only"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission was denied"),
    ],
)
def test_what_the_disk_refuses_is_one_sentence_with_the_result_and_the_fix(error, words):
    found = storage_error(error, ["results/a/features.zarr"])
    assert re.match(
        f"results/a/features.zarr cannot be written, {words} .*then run again", str(found)
    )


def test_a_block_that_writes_turns_what_the_disk_refuses_into_one_error(tmp_path):
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "below"
    refused = pytest.raises(
        StoreError, match="below cannot be written, a part of its path is a file"
    )
    with refused, readable_storage(output):
        output.mkdir()
    with pytest.raises(NotADirectoryError), readable_storage(tmp_path / "other"):
        output.mkdir()  # the source's fault, not the output's
    with pytest.raises(KeyError), readable_storage(output):
        raise KeyError("a bug")


def test_the_disk_is_found_behind_other_errors_and_not_where_it_is_not():
    outer = ValueError("cannot encode")
    outer.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "the disk is full" in str(storage_error(outer, ["x"]))
    assert storage_error(RuntimeError("a bug"), ["x"]) is None
    assert storage_error(FileNotFoundError(errno.ENOENT, "gone"), ["x"]) is None
    assert storage_error(SourceError("x.tif is truncated"), ["x"]) is None
