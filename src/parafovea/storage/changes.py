"""Files that make Snakemake run a job again: they are newer than the job's outputs.

Snakemake compares the times of inputs and outputs. Whether a result is current is known from its
record instead (`storage.records`); for one that is not, a file is added to the inputs of its job,
whose name tells what has changed and whose time is a little later than that of the outputs.
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


class ChangeMarks:
    """The files of one run.

    Parameters
    ----------
    folder : Path
        Folder for them; it may be removed at any time.
    """

    def __init__(self, folder: Path = STATE / "parafovea" / "changed") -> None:
        self._folder = folder
        self._times: dict[str, int] = {}

    def newer_than(self, outputs: Iterable[str], what: str) -> str:
        """Return the path of a file that is newer than outputs.

        Parameters
        ----------
        outputs : iterable of str
            Files and folders; those that do not exist are ignored.
        what : str
            What has changed: the name of the file.
        """
        newest = max((_time(path) for path in outputs), default=0)
        path = self._folder / what
        if self._times.get(what, -1) < newest + LATER:
            if what not in self._times:
                self._folder.mkdir(parents=True, exist_ok=True)
                # another content each time, since Snakemake may compare it with an earlier one
                path.write_text(f"{uuid.uuid4()}\n", encoding="utf-8")
            self._times[what] = newest + LATER
            os.utime(path, ns=(newest + LATER, newest + LATER))
        return str(path)


def _time(path: str) -> int:
    """Return the modification time of an output as Snakemake sees it, in nanoseconds."""
    newest = 0
    for each in (path, f"{path}/.snakemake_timestamp"):
        with contextlib.suppress(OSError):
            newest = max(newest, os.lstat(each).st_mtime_ns)
    return newest
