"""The queue of the service: jobs in SQLite, taken by lease, kept through restarts and SIGKILL.

A worker takes a job for a while and extends its lease by heartbeats. A job whose lease has run out,
or whose worker is known to be dead, is taken again. Each time counts as an attempt, whose number is
asked for with every change: a worker that lost its job can no longer write to it.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from parafovea.service.shared_database import SharedDatabase, disk_errors

State = Literal["queued", "running", "completed", "failed", "cancelled", "expired"]

#: States of jobs that are over and still have files.
OVER = ("completed", "failed")

#: Random bytes of an id: it cannot be guessed.
ID_BYTES = 24

#: What is counted since the queue was made.
COUNTERS = ("submitted", "completed", "failed", "retried", "deleted", "expired")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    task TEXT NOT NULL,
    source TEXT NOT NULL,
    state TEXT NOT NULL,
    stage TEXT NOT NULL DEFAULT '',
    share REAL NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    worker TEXT NOT NULL DEFAULT '',
    lease_until REAL NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    found INTEGER,
    error TEXT,
    notes TEXT NOT NULL DEFAULT '[]',
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""

#: Why a job is given up whose workers ended without a word.
ENDED = (
    "its worker was ended by the system {attempts} times: the file may need more memory than there "
    "is, or be damaged"
)


class QueueFullError(Exception):
    """As many jobs wait as may."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands.

    Parameters
    ----------
    id : str
        Random text that nobody can guess.
    owner : str
        Whose job it is; see `parafovea.service.keys`.
    task : str
        Name of the task.
    source : str
        Name of the file or folder in the upload's folder.
    state : str
        "cancelled" until its worker has let go of it, "expired" once its files are removed.
    stage : str
        Current stage.
    share : float
        Share of the work that is done, 0 to 1.
    attempt : int
        How often it was begun.
    worker : str
        Who works at it, or did.
    created, started, finished : float or None
        Seconds since 1970.
    found : int or None
        Number of detections or objects.
    error : str or None
        Why it failed.
    notes : tuple of str
        What its config says that has no effect.
    bytes : int
        What its files use.
    """

    id: str
    owner: str
    task: str
    source: str
    state: State
    stage: str
    share: float
    attempt: int
    worker: str
    created: float
    started: float | None
    finished: float | None
    found: int | None
    error: str | None
    notes: tuple[str, ...]
    bytes: int

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state not in ("queued", "running")

    def seconds_left(self, now: float) -> float | None:
        """Return the expected seconds until it is done; None while nothing is known of them."""
        if self.state != "running" or self.started is None or self.share < 0.01:
            return None
        return (now - self.started) * (1 - self.share) / self.share


_FIELDS = tuple(Job.__dataclass_fields__)
_COLUMNS = ", ".join(_FIELDS)


class JobQueue(SharedDatabase):
    """A queue of jobs in a database that several processes share.

    Parameters
    ----------
    path : Path
        The database; created if missing.
    clock : callable
        Returns the seconds since 1970.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(path, _SCHEMA, clock=clock)

    def _select(self, where: str, values: Sequence[Any] = ()) -> list[Job]:
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM jobs {where}", values).fetchall()  # noqa: S608
        return [_job(row) for row in rows]

    @staticmethod
    def new_id() -> str:
        """Return an id for a new job."""
        return secrets.token_urlsafe(ID_BYTES)

    def submit(
        self,
        job: str,
        *,
        owner: str,
        task: str,
        source: str,
        notes: Sequence[str] = (),
        most: int | None = None,
    ) -> Job:
        """Add a job whose files are in its folder.

        Parameters
        ----------
        job : str
            An id from `new_id`.
        owner, task, source, notes
            See `Job`.
        most : int, optional
            Most jobs that may wait.

        Raises
        ------
        QueueFullError
            If as many wait.
        """
        with self._changing() as database:
            if most is not None and self._count(database, "queued") >= most:
                raise QueueFullError
            database.execute(
                "INSERT INTO jobs (id, owner, task, source, state, created, notes) "
                "VALUES (?, ?, ?, ?, 'queued', ?, ?)",
                (job, owner, task, source, self._clock(), json.dumps(list(notes))),
            )
            self._counted(database, "submitted")
        found = self.get(job)
        if found is None:
            raise KeyError(job)
        return found

    @staticmethod
    def _count(database: sqlite3.Connection, state: State) -> int:
        query = "SELECT COUNT(*) FROM jobs WHERE state = ?"
        return int(database.execute(query, (state,)).fetchone()[0])

    @staticmethod
    def _counted(database: sqlite3.Connection, name: str, number: int = 1) -> None:
        database.execute(
            "INSERT INTO counters VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, number),
        )

    def get(self, job: str, *, owner: str | None = None) -> Job | None:
        """Return a job, None if there is none, or if it is not of this owner.

        Parameters
        ----------
        job : str
            Id.
        owner : str, optional
            Whose it has to be; anyone's by default.
        """
        found = self._select("WHERE id = ?", (job,))
        if not found or (owner is not None and found[0].owner != owner):
            return None
        return found[0]

    def jobs(self, *, owner: str | None = None, most: int = 100) -> list[Job]:
        """Return the newest jobs, of one owner or of all."""
        if owner is None:
            return self._select("ORDER BY number DESC LIMIT ?", (most,))
        return self._select("WHERE owner = ? ORDER BY number DESC LIMIT ?", (owner, most))

    def ids(self) -> frozenset[str]:
        """Return the ids of all jobs."""
        with self._lock:
            return frozenset(row[0] for row in self._database.execute("SELECT id FROM jobs"))

    def position(self, job: str) -> int | None:
        """Return how many jobs are before one that waits, None if it does not wait."""
        with self._lock:
            row = self._database.execute(
                "SELECT (SELECT COUNT(*) FROM jobs o WHERE o.state = 'queued' "
                "AND o.number < j.number) FROM jobs j WHERE j.id = ? AND j.state = 'queued'",
                (job,),
            ).fetchone()
        return None if row is None else int(row[0])

    def claim(self, worker: str, *, lease: float, attempts: int) -> Job | None:
        """Take the job that has waited longest, None if there is none.

        Parameters
        ----------
        worker : str
            Who takes it.
        lease : float
            Seconds until it is free again, unless `extend` is called.
        attempts : int
            Times that a job may be begun; see `release`.
        """
        now = self._clock()
        with self._changing() as database:
            query = "SELECT number, state, attempt FROM jobs WHERE state = 'running' "
            held = database.execute(query + "AND lease_until < ?", (now,)).fetchall()
            self._release(database, held, attempts)
            row = database.execute(
                "SELECT id FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            database.execute(
                "UPDATE jobs SET state = 'running', worker = ?, lease_until = ?, started = ?, "
                "attempt = attempt + 1, stage = '', share = 0 WHERE id = ?",
                (worker, now + lease, now, row[0]),
            )
        return self.get(row[0])

    def _release(
        self, database: sqlite3.Connection, held: Sequence[tuple[int, str, int]], attempts: int
    ) -> int:
        """Let go of jobs that a worker has: they wait again, or fail after so many attempts."""
        for number, state, attempt in held:
            if state == "cancelled":
                # its client deleted it: it is swept, and not taken again
                database.execute("UPDATE jobs SET lease_until = 0 WHERE number = ?", (number,))
            elif attempt >= attempts:
                database.execute(
                    "UPDATE jobs SET state = 'failed', finished = ?, error = ? WHERE number = ?",
                    (self._clock(), ENDED.format(attempts=attempts), number),
                )
                self._counted(database, "failed")
            else:
                database.execute(
                    "UPDATE jobs SET state = 'queued', worker = '', stage = '', share = 0, "
                    "started = NULL WHERE number = ?",
                    (number,),
                )
                self._counted(database, "retried")
        return len(held)

    def release(self, worker: str, *, attempts: int) -> int:
        """Let go of the jobs of a worker that is dead, and return how many it had.

        Parameters
        ----------
        worker : str
            Name of the worker.
        attempts : int
            Times that a job may be begun; after the last, it fails.
        """
        with self._changing() as database:
            held = database.execute(
                "SELECT number, state, attempt FROM jobs "
                "WHERE state IN ('running', 'cancelled') AND worker = ?",
                (worker,),
            ).fetchall()
            return self._release(database, held, attempts)

    def holders(self) -> list[str]:
        """Return the names of the workers that have jobs."""
        with self._lock:
            query = "SELECT DISTINCT worker FROM jobs WHERE state IN ('running', 'cancelled')"
            return [row[0] for row in self._database.execute(query)]

    def _update(self, job: Job, changes: str, values: Sequence[Any]) -> bool:
        """Change a job, if it is still that of this attempt; return whether it is."""
        with self._lock, disk_errors():
            done = self._database.execute(
                f"UPDATE jobs SET {changes} WHERE id = ? AND attempt = ? AND state = 'running'",  # noqa: S608
                (*values, job.id, job.attempt),
            )
            return done.rowcount == 1

    def extend(self, job: Job, *, lease: float) -> bool:
        """Extend the lease of a job from now on, and return whether it still is the worker's."""
        return self._update(job, "lease_until = ?", (self._clock() + lease,))

    def progress(self, job: Job, stage: str, share: float) -> bool:
        """Record how far a job is, and return whether it still is the worker's."""
        return self._update(job, "stage = ?, share = ?", (stage, share))

    def complete(self, job: Job, *, found: int | None, size: int) -> bool:
        """Record that the results of a job are there.

        Parameters
        ----------
        job : Job
            As it was claimed.
        found : int or None
            Number of detections or objects.
        size : int
            Bytes of its files.

        Returns
        -------
        bool
            Whether it was still the worker's; otherwise nothing changed.
        """
        changes = "state = 'completed', share = 1, finished = ?, found = ?, bytes = ?"
        return self._over(job, changes, (self._clock(), found, size), "completed")

    def fail(self, job: Job, error: str, *, size: int = 0) -> bool:
        """Record why a job failed; as `complete`."""
        changes = "state = 'failed', finished = ?, error = ?, bytes = ?"
        return self._over(job, changes, (self._clock(), error, size), "failed")

    def _over(self, job: Job, changes: str, values: Sequence[Any], counter: str) -> bool:
        with self._changing() as database:
            done = self._update(job, changes, values)
            if done:
                self._counted(database, counter)
        return done

    def requeue(self, job: Job) -> bool:
        """Let go of a job that a worker cannot finish since it is asked to end.

        The attempt does not count.
        """
        changes = (
            "state = 'queued', worker = '', stage = '', share = 0, started = NULL, "
            "attempt = attempt - 1"
        )
        return self._update(job, changes, ())

    def delete(self, job: str) -> bool:
        """Remove a job, and return whether its files may be removed at once.

        One that a worker works at is cancelled first; `swept` names it when the worker is through.
        """
        with self._changing() as database:
            running = database.execute(
                "UPDATE jobs SET state = 'cancelled' WHERE id = ? AND state = 'running'", (job,)
            ).rowcount
            if not running:
                database.execute("DELETE FROM jobs WHERE id = ? AND state != 'cancelled'", (job,))
            self._counted(database, "deleted")
        return not running

    def let_go(self, job: Job) -> None:
        """Record that the worker of a cancelled job has stopped."""
        with self._lock, disk_errors():
            self._database.execute(
                "UPDATE jobs SET lease_until = 0 WHERE id = ? AND state = 'cancelled'", (job.id,)
            )

    def swept(self, *, keep_seconds: float, keep_bytes: int) -> list[str]:
        """Return the ids of jobs whose files are to be removed, and record that they are.

        These are cancelled jobs that no worker has, finished ones that are too old, and the oldest
        of the finished ones if all together are too large. Of an expired job, its row remains for
        as long again.

        Parameters
        ----------
        keep_seconds : float
            Greatest age of a finished job.
        keep_bytes : int
            Most bytes of all finished jobs.
        """
        now = self._clock()
        with self._changing() as database:
            expired = self.expirable(keep_seconds=keep_seconds, keep_bytes=keep_bytes)
            cancelled = [
                row[0]
                for row in database.execute(
                    "DELETE FROM jobs WHERE state = 'cancelled' AND lease_until < ? RETURNING id",
                    (now,),
                ).fetchall()
            ]
            for job in expired:
                database.execute(
                    "UPDATE jobs SET state = 'expired', finished = ?, bytes = 0 WHERE id = ?",
                    (now, job),
                )
            self._counted(database, "expired", len(expired))
            database.execute(
                "DELETE FROM jobs WHERE state = 'expired' AND finished < ?", (now - keep_seconds,)
            )
        return [*cancelled, *expired]

    def expirable(self, *, keep_seconds: float, keep_bytes: int) -> list[str]:
        """Return the ids of finished jobs that are too old or, together, too large; as `swept`."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id, finished, bytes FROM jobs WHERE state IN (?, ?) "
                "ORDER BY finished DESC, number DESC",
                OVER,
            ).fetchall()
        oldest, expired, total = self._clock() - keep_seconds, [], 0
        for job, finished, size in rows:
            total += size
            if finished < oldest or total > keep_bytes:
                expired.append(job)
        return expired

    def states(self) -> Mapping[str, int]:
        """Return the number of jobs by state."""
        with self._lock:
            query = "SELECT state, COUNT(*) FROM jobs GROUP BY state"
            return {row[0]: int(row[1]) for row in self._database.execute(query)}

    def counters(self) -> Mapping[str, int]:
        """Return what was counted since the queue was made, by the names in `COUNTERS`."""
        with self._lock:
            found = dict(self._database.execute("SELECT name, value FROM counters").fetchall())
        return {name: int(found.get(name, 0)) for name in COUNTERS}

    def oldest_waiting(self) -> float:
        """Return for how many seconds the first job of the queue has waited; 0 without any."""
        with self._lock:
            query = "SELECT MIN(created) FROM jobs WHERE state = 'queued'"
            created = self._database.execute(query).fetchone()[0]
        return 0.0 if created is None else max(0.0, self._clock() - created)

    def stored(self) -> int:
        """Return how many bytes all finished jobs use."""
        with self._lock:
            row = self._database.execute("SELECT COALESCE(SUM(bytes), 0) FROM jobs").fetchone()
        return int(row[0])


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(_FIELDS, row, strict=True))
    return Job(**{**values, "notes": tuple(json.loads(values["notes"]))})
