"""What became of received series: their job, and whether their results are stored.

Kept in a database beside the queue, so that whoever is killed goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from parafovea.service.shared_database import SharedDatabase

#: "replaced": more of the series came before its results were stored.
SeriesState = Literal["predicting", "storing", "stored", "failed", "replaced"]

#: States that something will still happen to.
OPEN = ("predicting", "storing")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL UNIQUE,
    peer TEXT NOT NULL,
    target TEXT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    instances TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'predicting',
    received REAL NOT NULL,
    since REAL,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL DEFAULT 0,
    stored TEXT NOT NULL DEFAULT '[]',
    error TEXT
);
CREATE INDEX IF NOT EXISTS series_by_uid ON series (peer, series, number);
"""


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """A received series as it stands.

    Parameters
    ----------
    job : str
        Id of its job in the queue.
    peer, target : str
        Names of the peers that sent it and that gets the results.
    study, series : str
        UIDs.
    instances : tuple of str
        SOPInstanceUIDs, sorted.
    state : str
        What is being done, or was.
    received : float
        When it was complete, in seconds since 1970.
    since : float or None
        When storing was first tried.
    tries : int
        Attempts to store the results that failed.
    next_try : float
        When to try next.
    stored : tuple of str
        Names of the result files that the target has confirmed.
    error : str or None
        Why it failed, or why storing has to be tried again.
    """

    job: str
    peer: str
    target: str
    study: str
    series: str
    instances: tuple[str, ...]
    state: SeriesState
    received: float
    since: float | None
    tries: int
    next_try: float
    stored: tuple[str, ...]
    error: str | None


_FIELDS = tuple(SeriesRecord.__dataclass_fields__)
_COLUMNS = ", ".join(_FIELDS)


class SeriesLedger(SharedDatabase):
    """Records of received series.

    Parameters
    ----------
    path : Path
        The database; created if missing.
    clock : callable
        Returns the seconds since 1970.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(path, _SCHEMA, clock=clock)

    def _select(self, where: str, values: Sequence[Any] = ()) -> list[SeriesRecord]:
        with self._lock:
            query = f"SELECT {_COLUMNS} FROM series {where}"  # noqa: S608
            return [_record(row) for row in self._database.execute(query, values)]

    def _execute(self, command: str, values: Sequence[Any]) -> None:
        with self._lock:
            self._database.execute(command, values)

    def add(
        self, job: str, *, peer: str, target: str, study: str, series: str, instances: Sequence[str]
    ) -> None:
        """Record a complete series, whose job is about to be submitted.

        Parameters
        ----------
        job, peer, target, study, series, instances
            See `SeriesRecord`.
        """
        self._execute(
            "INSERT INTO series (job, peer, target, study, series, instances, received) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (job, peer, target, study, series, json.dumps(sorted(instances)), self._clock()),
        )

    def remove(self, job: str) -> None:
        """Forget a series."""
        self._execute("DELETE FROM series WHERE job = ?", (job,))

    def get(self, job: str) -> SeriesRecord | None:
        """Return the record of a job, None if there is none."""
        return next(iter(self._select("WHERE job = ?", (job,))), None)

    def latest(self, peer: str, series: str) -> SeriesRecord | None:
        """Return the last record of a series that did not fail, None if there is none."""
        where = "WHERE peer = ? AND series = ? AND state != 'failed' ORDER BY number DESC LIMIT 1"
        return next(iter(self._select(where, (peer, series))), None)

    def records(self, *, most: int = 100) -> list[SeriesRecord]:
        """Return the newest records."""
        return self._select("ORDER BY number DESC LIMIT ?", (most,))

    def due(self) -> list[SeriesRecord]:
        """Return the records whose job or storing is to be looked at, the oldest first."""
        where = "WHERE state IN (?, ?) AND next_try <= ? ORDER BY number"
        return self._select(where, (*OPEN, self._clock()))

    def begin_storing(self, job: str) -> None:
        """Record that the results of a job are there and are stored from now on."""
        self._execute(
            "UPDATE series SET state = 'storing', since = ? WHERE job = ? AND state = 'predicting'",
            (self._clock(), job),
        )

    def confirm(self, job: str, stored: Sequence[str]) -> None:
        """Record which results the target has."""
        self._execute("UPDATE series SET stored = ? WHERE job = ?", (json.dumps(list(stored)), job))

    def finish(self, job: str, state: SeriesState, error: str | None = None) -> None:
        """Record that nothing more happens to an open series, and why."""
        self._execute(
            "UPDATE series SET state = ?, error = ? WHERE job = ? AND state IN (?, ?)",
            (state, error, job, *OPEN),
        )

    def postpone(self, job: str, error: str, *, seconds: float) -> None:
        """Record why results could not be stored, and when to try again."""
        self._execute(
            "UPDATE series SET tries = tries + 1, next_try = ?, error = ? WHERE job = ?",
            (self._clock() + seconds, error, job),
        )

    def forget(self, jobs: frozenset[str]) -> None:
        """Forget what is over and whose job the queue no longer knows.

        Parameters
        ----------
        jobs : frozenset of str
            Ids of all jobs of the queue.
        """
        with self._lock:
            rows = self._database.execute(
                "SELECT job FROM series WHERE state NOT IN (?, ?)", OPEN
            ).fetchall()
            for (job,) in rows:
                if job not in jobs:
                    self.remove(job)


def _record(row: Sequence[Any]) -> SeriesRecord:
    values = dict(zip(_FIELDS, row, strict=True))
    lists = {name: tuple(json.loads(values[name])) for name in ("instances", "stored")}
    return SeriesRecord(**{**values, **lists})
