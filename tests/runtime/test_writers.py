import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from parafovea.errors import StoreError
from parafovea.runtime.runs import LOCK, STATE, at_work
from parafovea.runtime.writers import Held, is_held, share_results, writing

PROGRAM = """
import sys
from pathlib import Path
from parafovea.runtime.writers import Held, share_results, writing
what, *folders = sys.argv[1:]
folders = [Path(folder) for folder in folders]
if what == "run":
    held = share_results(folders[0], ["a", "b"])
else:
    held = writing(*folders, shared=what == "phantom")
    held.__enter__()
print("in", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Return a function that starts another process which holds folders until the test ends."""
    monkeypatch.chdir(tmp_path)
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "in\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_command_does_not_write_below_the_results_of_a_run(tmp_path, other):
    process = other("run", "results")
    with (
        pytest.raises(StoreError, match="a run of the workflow is writing to results: wait"),
        writing(tmp_path / "results" / "a"),
    ):
        pass
    with writing(tmp_path / "elsewhere" / "a"):
        pass
    process.kill()
    process.wait()
    with writing(tmp_path / "results" / "a"):
        pass


def test_a_run_does_not_start_where_a_command_writes(tmp_path, other):
    other("command", "results/b")
    with pytest.raises(StoreError, match=r"predict or phantom is writing to .*results/b: wait"):
        share_results(tmp_path / "results", ["a", "b"])
    share_results(tmp_path / "results", ["a"]).close()


def test_two_commands_share_no_folder_but_write_beside_each_other(tmp_path, other):
    other("command", "results/a")
    with (
        pytest.raises(StoreError, match=r"another parafovea run, .* is writing to results/a"),
        writing(tmp_path / "results" / "a"),
    ):
        pass
    with (
        pytest.raises(StoreError, match=r"another parafovea run, .* is writing to results/a"),
        writing(tmp_path / "results" / "a" / "inside"),
    ):
        pass
    with writing(tmp_path / "results" / "b"):
        assert is_held(tmp_path / "results" / "a", alone=True)


def test_phantoms_are_made_beside_each_other_and_not_while_a_run_writes(tmp_path, other):
    other("phantom", "results/phantoms")
    with writing(tmp_path / "results" / "phantoms", shared=True):
        pass
    with pytest.raises(StoreError, match=r"is writing to .*results/phantoms"):
        share_results(tmp_path / "results", ["phantoms"])


def test_a_command_holds_the_lock_of_a_run_where_there_is_one(tmp_path, other, monkeypatch):
    (tmp_path / STATE).mkdir()
    (tmp_path / STATE / LOCK).touch()
    other("command", "results/a")
    assert at_work(tmp_path / STATE)


def test_a_folder_that_cannot_be_written_to_is_an_error_and_no_lock_is_a_command_without(
    tmp_path, monkeypatch
):
    (tmp_path / "results").write_text("")
    with pytest.raises(StoreError, match="results is a file"), writing(tmp_path / "results" / "a"):
        pass

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        with pytest.raises(StoreError, match="the disk is full"):
            share_results(tmp_path / "new", [])

    def refuse(file, kind):
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with writing(tmp_path / "other"):
        assert not is_held(tmp_path / "other")
    Held(tmp_path / "none").close()
