"""Runs of Snakemake from the outside, and their results."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from lasting import lasting

#: The node has as few cores as this machine, and every job takes one; results do not depend on
#: who computes them where the threads are the same.
THREADS = (
    "extract_features=1",
    "extract_features_block=1",
    "extract_context=1",
    "extract_context_block=1",
    "infer_shard=1",
    "predict_tiles=1",
)

#: Written anew by every run, or left behind by a process that was killed.
INCIDENTAL = ("logs", "benchmarks")


class Run:
    """Snakemake in a folder, on the cluster or on this machine.

    Parameters
    ----------
    folder : Path
        Root of the clone.
    *arguments : str
        Of snakemake.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "snakemake", *arguments, "--set-threads", *THREADS]
        self._log = folder / "snakemake.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, text=True
            )

    def finish(self) -> str:
        """Return what Snakemake printed, once it has ended well."""
        status = self.process.wait(1500)
        assert status == 0, self.text
        return self.text

    @property
    def text(self) -> str:
        """What Snakemake has printed so far."""
        return self._log.read_text()

    def end(self) -> None:
        """Interrupt Snakemake, which then cancels its jobs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()


def results_of(folder: Path) -> dict[str, bytes]:
    """Return every result below a folder of results, by its path."""
    found = {}
    for root, folders, files in os.walk(folder):
        place = Path(root)
        hidden = [name for name in folders if name.startswith(".")]
        for name in [*hidden, *(INCIDENTAL if place == folder else ())]:
            if name in folders:
                folders.remove(name)
        for name in files:
            if not name.startswith("."):
                file = place / name
                found[file.relative_to(folder).as_posix()] = lasting(file)
    return found


def assert_same_results(one: Path, other: Path) -> None:
    """Compare two folders of results byte for byte."""
    first, second = results_of(one), results_of(other)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
