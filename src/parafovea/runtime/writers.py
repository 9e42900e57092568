"""Locks on folders of results, so that two programs never write to one folder at the same time.

A run of the workflow shares its results folder with its jobs and with other runs. A command that
writes results itself (`parafovea run`, `predict`, `phantom`) has the folder that it writes to for
itself, and refuses to start below a folder that others hold. The locks are those of the operating
system on the folders, leave no file, and end with their process. Where the file system knows no
such locks, nothing is held and nobody is refused. Only the standard library is imported, since
every job of the workflow reads this.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from parafovea.errors import StoreError
from parafovea.runtime.runs import Run, require_writable, storage_error

#: Times to try, and seconds between: whoever looks whether a folder is held holds it for a moment.
TRIES, PAUSE = 5, 0.02

#: How many folders above its own a command looks at: results lie in one or two of them, and what
#: is further up is not of this project.
LEVELS = 2

WAIT = "wait until it ends, or stop it first"


class Held:
    """A folder held by this process until it is closed or the process ends.

    Parameters
    ----------
    folder : Path
        An existing folder; nothing is held if there is none.
    shared : bool
        Whether others may share it.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self._file = -1
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        for left in reversed(range(TRIES)):
            try:
                self._file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(self._file, kind | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self.close()
                if not left:
                    raise
                time.sleep(PAUSE)
            except OSError:
                # no such folder, or a file system without locks
                self.close()
                return

    def close(self) -> None:
        """Let others have the folder."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def is_held(folder: Path, *, alone: bool = False) -> bool:
    """Return whether another process holds a folder.

    Parameters
    ----------
    folder : Path
        Any folder; need not exist.
    alone : bool
        Whether only a holder counts that does not share it.
    """
    try:
        Held(folder, shared=alone).close()
    except BlockingIOError:
        return True
    return False


def share_results(results: Path, parts: Iterable[str]) -> Held:
    """Hold a results folder for a run of the workflow.

    Parameters
    ----------
    results : Path
        The folder; created if missing.
    parts : iterable of str
        Names of the folders in it that the run may write to.

    Returns
    -------
    Held
        To be kept until the run ends.

    Raises
    ------
    StoreError
        If a command writes to the folder or to one of its parts, or it cannot be made.
    """
    _make(results)
    try:
        held = Held(results, shared=True)
    except BlockingIOError:
        raise _of_a_command(results) from None
    for name in parts:
        if is_held(results / name):
            held.close()
            raise _of_a_command(results / name)
    return held


@contextlib.contextmanager
def writing(*folders: Path, shared: bool = False) -> Iterator[None]:
    """Hold the folders that a command writes to, and the lock of a run in this folder.

    Parameters
    ----------
    *folders : Path
        Created if missing.
    shared : bool
        Whether other commands may write to the same folders.

    Raises
    ------
    StoreError
        If a folder cannot be written to, or if a run of the workflow or another command is writing
        to it or to one of the folders right above it.
    """
    with contextlib.ExitStack() as stack:
        run = Run(job=True)
        stack.callback(run.close)
        for folder in dict.fromkeys(folders):
            _make(folder)
            try:
                held = Held(folder, shared=shared)
            except BlockingIOError:
                raise _of_anyone(folder) from None
            stack.callback(held.close)
        own = {folder.resolve() for folder in folders}
        for above in dict.fromkeys(up for folder in own for up in folder.parents[:LEVELS]):
            if above not in own and is_held(above):
                raise _of_anyone(above)
        yield


def _make(folder: Path) -> None:
    """Make a folder, or raise `StoreError`."""
    require_writable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, [str(folder)]) or error from error


def _of_a_command(folder: Path) -> StoreError:
    return StoreError(f"parafovea run, predict or phantom is writing to {folder}: {WAIT}")


def _of_anyone(folder: Path) -> StoreError:
    here = Path().absolute()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    if not is_held(folder, alone=True):
        return StoreError(f"a run of the workflow is writing to {shown}: {WAIT}")
    return StoreError(f"another parafovea run, predict or phantom is writing to {shown}: {WAIT}")
