"""Runs of the workflow in a folder: what a killed one left behind, and what the disk refuses.

Snakemake's own lock is a few files, which stay when it is killed. A lock of the operating system
does not stay: each run holds one beside them, so that the next run can tell a live one from a dead
one. Only the standard library is imported, since every job of the workflow reads this.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from parafovea.errors import ParafoveaError, StoreError

#: Snakemake's folder in the folder that it runs in.
STATE = Path(".snakemake")

LOCK = "parafovea.lock"

#: Stands in the lock file of a run whose jobs may outlive it.
ELSEWHERE = "its jobs run elsewhere"

UNLOCK = "once none of its jobs runs any more, remove its lock with: snakemake --unlock"


class Run:
    """One run, or one of its jobs, at work in this folder until it is closed or the process ends.

    A run removes the lock that a killed one left, if no other run and no job is at work, and the
    dead one ran on this machine alone. Where the file system knows no locks, nothing is done.

    Parameters
    ----------
    state : Path
        Snakemake's folder.
    job : bool
        Whether this is a job, which looks after nothing else.
    """

    def __init__(self, state: Path = STATE, *, job: bool = False) -> None:
        #: A sentence for the user about a lock that was found; empty if there was none.
        self.notice = ""
        self._path = state / LOCK
        self._file = -1
        if job and not self._path.is_file():
            return
        try:
            state.mkdir(exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o664)
            if not job:
                self._look_at(state / "locks")
            fcntl.flock(self._file, fcntl.LOCK_SH)
            if not job:
                self._write(socket.gethostname())
        except OSError:
            # a file system without locks, or read-only: Snakemake's own lock has to do
            self.close()

    def close(self) -> None:
        """End the run: others may take it for over."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def goes_elsewhere(self) -> None:
        """Note that the run's jobs go to other machines, where they outlive it if it is killed."""
        if self._file >= 0:
            self._write(ELSEWHERE)

    def _write(self, line: str) -> None:
        if line not in self._path.read_text(encoding="utf-8").splitlines():
            os.write(self._file, f"{line}\n".encode())

    def _look_at(self, locks: Path) -> None:
        """Remove the lock of a dead run, or say why it stays."""
        left = locks.is_dir() and any(locks.iterdir())
        if not _locked(self._file):
            if left:
                self.notice = "another run, or a job that a killed one left, is at work here"
            return
        if left:
            lines = set(self._path.read_text(encoding="utf-8").splitlines())
            others = lines - {socket.gethostname(), ELSEWHERE}
            if others or ELSEWHERE in lines:
                where = f" on {' or '.join(sorted(others))}" if others else ""
                self.notice = f"an earlier run{where} left a lock: {UNLOCK}"
                return
            shutil.rmtree(locks)
            self.notice = "an earlier run was killed: its lock is removed, what it finished is kept"
        os.ftruncate(self._file, 0)


def at_work(state: Path = STATE) -> bool:
    """Return whether a run, or a job of one, is working in this folder."""
    try:
        file = os.open(state / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _locked(file)
    except OSError:
        return False
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    """Lock a file for this process alone if no other one holds it, and tell whether it was so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def require_writable(results: Path) -> None:
    """Make sure that results can be written at all, before any job runs.

    Parameters
    ----------
    results : Path
        Folder of results; it need not exist yet.

    Raises
    ------
    StoreError
        If it, or what is there of the way to it, cannot be written to.
    """
    place = results.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise StoreError(f"{place} is a file, but results have to go below it: remove or rename it")
    if not os.access(place, os.W_OK | os.X_OK):
        read_only = bool(os.statvfs(place).f_flag & os.ST_RDONLY)
        reason = "its file system is read-only" if read_only else "permission denied"
        raise StoreError(
            f"the folder {place} cannot be written to ({reason}): change that, or name another "
            "folder for the results with the key `results` of the config"
        )


def storage_error(error: BaseException, outputs: Sequence[str]) -> StoreError | None:
    """Return what a user can do about an error, if it is the disk's.

    Parameters
    ----------
    error : BaseException
        What ended a job, of whatever library.
    outputs : sequence of str
        What the job was writing.

    Returns
    -------
    StoreError or None
        None where the error is something else.
    """
    number = _system_error(error)
    where = " and ".join(outputs) or str(getattr(error, "filename", None) or "a file")
    if number in (errno.ENOSPC, errno.EDQUOT):
        what = "the disk is full" if number == errno.ENOSPC else "the quota of the disk is used up"
        fix = "free some space"
    elif number == errno.EROFS:
        what, fix = "the file system is read-only", "make it writable"
    elif number in (errno.EACCES, errno.EPERM):
        what, fix = "permission was denied", "change the owner or the permissions"
    elif number == errno.EFBIG:
        what = "a file became larger than the file system or a limit of this shell allows"
        fix = "raise the limit (ulimit -f), or write to another disk"
    elif number in (errno.ENOTDIR, errno.EEXIST) and _is_of(error, outputs):
        what, fix = "a part of its path is a file", "name another folder"
    else:
        return None
    return StoreError(
        f"{where} cannot be written, {what} ({error}): {fix}, then run again; what is finished "
        "is kept"
    )


@contextlib.contextmanager
def readable_storage(*outputs: str | Path) -> Iterator[None]:
    """Turn what the disk refuses into one `StoreError`.

    Parameters
    ----------
    *outputs : str or Path
        What the block writes.

    Raises
    ------
    StoreError
        As `storage_error` returns it; other errors pass.
    """
    try:
        yield
    except Exception as error:
        found = storage_error(error, [str(output) for output in outputs])
        if found is None:
            raise
        raise found from error


def _is_of(error: BaseException, outputs: Sequence[str]) -> bool:
    """Return whether an error names the path of an output, or a part of it."""
    name = str(getattr(error, "filename", None) or "/")
    paths = [Path(output).absolute() for output in outputs]
    place = Path(name).absolute()
    return any(path.is_relative_to(place) or place.is_relative_to(path) for path in paths)


def _system_error(error: BaseException) -> int | None:
    """Return the number of the system's error behind an error, None where there is none."""
    if isinstance(error, ParafoveaError):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    # as libraries in Rust word it
    found = re.search(r"\(os error (\d+)\)", str(error))
    if found:
        return int(found[1])
    # as libraries in C and C++ do
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        if os.strerror(number) in str(error):
            return number
    cause = error.__cause__ or error.__context__
    return None if cause is None else _system_error(cause)
