"""The file that makes Snakemake run a job again: it is newer than the job's outputs.

Snakemake compares the times of inputs and outputs. Whether a result is current is known from its
record instead (`storage.records`). So this file is an input of every job, whose time counts only
for jobs with outputs that are not current, and is a little later than that of those outputs.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

from parafovea.runtime.runs import STATE

#: Later than any output by so many nanoseconds; a clock of microseconds still tells them apart.
LATER = 1_000_000


class ChangeMark:
    """The file of one run.

    Parameters
    ----------
    path : Path
        The file; it may be removed after a run.
    """

    def __init__(self, path: Path = STATE / "parafovea" / "changed") -> None:
        self.path = path
        self._time = 0

    def write(self) -> None:
        """Write the file, older than any output."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # another content each time, since Snakemake may compare it with an earlier one
        self.path.write_text(f"{uuid.uuid4()}\n", encoding="utf-8")
        self._set(0)

    def follow(self, outputs: Iterable[str]) -> None:
        """Make the file newer than outputs, of which those that do not exist are ignored."""
        time = max((_time(path) for path in outputs), default=0) + LATER
        if time > self._time:
            self._set(time)

    def _set(self, time: int) -> None:
        self._time = time
        os.utime(self.path, ns=(time, time))


def _time(path: str) -> int:
    """Return the modification time of an output as Snakemake sees it, in nanoseconds."""
    newest = 0
    for each in (path, f"{path}/.snakemake_timestamp"):
        with contextlib.suppress(OSError):
            newest = max(newest, os.lstat(each).st_mtime_ns)
    return newest
