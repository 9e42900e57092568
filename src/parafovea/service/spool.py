"""The folder of the service: the database of the queue, and a folder a job."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from parafovea.errors import ConfigError, StoreError
from parafovea.storage.layout import disk_use

#: Ids of jobs, as `secrets.token_urlsafe` makes them.
JOB_ID = re.compile(r"[A-Za-z0-9_-]{22,64}")

_ATTEMPT, _WORK = "attempt-", "work-"


class Spool:
    """The files of a service.

    Parameters
    ----------
    root : Path
        Folder of the service; created if missing, for its user alone.

    Raises
    ------
    StoreError
        If it cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.jobs = self.root / "jobs"
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.jobs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{root} cannot be made ({error.strerror}): choose another folder with --spool"
            ) from error

    @property
    def database(self) -> Path:
        """Database of the queue."""
        return self.root / "queue.sqlite3"

    @property
    def lock(self) -> Path:
        """File that the one server locks that starts the workers."""
        return self.root / "workers.lock"

    def job(self, job: str) -> Path:
        """Return the folder of a job.

        Raises
        ------
        ConfigError
            If the id is none, such as a path.
        """
        if not JOB_ID.fullmatch(job):
            raise ConfigError("this is not the id of a job")
        return self.jobs / job

    def upload(self, job: str) -> Path:
        """Return the folder of the file that was uploaded for a job."""
        return self.job(job) / "upload"

    def config(self, job: str) -> Path:
        """Return the config that came with a job; there need be none."""
        return self.job(job) / "config.yaml"

    def dicom_wanted(self, job: str) -> Path:
        """Return the file that says of a job that its results are wanted as DICOM objects too."""
        return self.job(job) / "dicom-output"

    def metadata(self, job: str) -> Path:
        """Return the words that came with the file of a job; there need be none."""
        return self.job(job) / "metadata.txt"

    def attempt(self, job: str, number: int) -> Path:
        """Return the folder of the results of one attempt."""
        return self.job(job) / f"{_ATTEMPT}{number}"

    def viewer(self, job: str, number: int) -> Path:
        """Return the folder of what the page shows of the results of one attempt."""
        # no scan has a name that begins with a dot
        return self.attempt(job, number) / ".viewer"

    def working(self, job: str, number: int) -> Path:
        """Return the folder in which one attempt works."""
        return self.job(job) / f"{_WORK}{number}"

    def forget_attempts(self, job: str, *, but: int = 0) -> None:
        """Remove what attempts made, and the folders in which they worked.

        Parameters
        ----------
        job : str
            Id.
        but : int
            Number of the attempt whose results stay.
        """
        for place in (*self.job(job).glob(f"{_ATTEMPT}*"), *self.job(job).glob(f"{_WORK}*")):
            if place != self.attempt(job, but):
                shutil.rmtree(place, ignore_errors=True)

    def remove(self, job: str) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self.job(job), ignore_errors=True)

    def size(self, job: str) -> int:
        """Return how many bytes the files of a job use."""
        return disk_use(self.job(job)) if self.job(job).is_dir() else 0

    def free(self) -> int:
        """Return how many bytes the disk has left for this user."""
        facts = os.statvfs(self.root)
        return facts.f_bavail * facts.f_frsize

    def orphans(self, known: frozenset[str], *, age: float) -> list[str]:
        """Return the ids of folders of no job, which a killed server left behind.

        Parameters
        ----------
        known : frozenset of str
            Ids of all jobs.
        age : float
            Seconds since a file in them changed, from which on they count: uploads are no jobs
            before they are complete.
        """
        limit = time.time() - age
        return [
            folder.name
            for folder in self.jobs.iterdir()
            if folder.name not in known
            and JOB_ID.fullmatch(folder.name)
            and _last_change(folder) < limit
        ]


def _last_change(folder: Path) -> float:
    times = [0.0]
    for place in (folder, *folder.rglob("*")):
        try:
            times.append(place.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times)
