"""Results go to their archives: tried again and again, confirmed one by one, never twice.

An object keeps its UID from attempt to attempt, and what is confirmed is not sent again. Where the
confirmation itself is lost, the archive gets an object that it has, which changes nothing there.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from parafovea.errors import ParafoveaError, describe
from parafovea.formats.location import stem
from parafovea.pacs.archive import FindArchive
from parafovea.pacs.series_ledger import SeriesLedger, SeriesRecord
from parafovea.service.job_queue import Job, JobQueue
from parafovea.service.spool import Spool

LOGGER = logging.getLogger("parafovea.pacs")

#: Seconds before the second attempt, which double from then on, and their greatest number.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0

#: Seconds between two looks at the ledger.
LOOK = 0.5

#: Reasons for series whose jobs are gone.
_GONE = "its job was deleted"
_EXPIRED = "its results were removed before they could be stored: see --keep-hours and --keep-gb"
_NOTHING = "the prediction made no DICOM objects"


def dicom_results(folder: Path) -> list[Path]:
    """Return the DICOM objects among the results of a scan, sorted."""
    return sorted(folder.rglob("*.dcm"))


class ResultStoring:
    """Stores the results of finished jobs in archives.

    Parameters
    ----------
    ledger : SeriesLedger
        Which series were received, and what is stored of them.
    queue : JobQueue
        Their jobs.
    spool : Spool
        Their results.
    archive : callable
        Returns the archive of a peer.
    give_up : float
        Seconds after which storing is given up.
    clock : callable
        Returns the seconds since 1970.
    """

    def __init__(
        self,
        ledger: SeriesLedger,
        queue: JobQueue,
        spool: Spool,
        archive: FindArchive,
        *,
        give_up: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._spool = spool
        self._archive = archive
        self._give_up = give_up
        self._clock = clock

    def run(self, stop: threading.Event) -> None:
        """Look after all series until `stop` is set."""
        while not stop.wait(LOOK):
            try:
                for record in self._ledger.due():
                    if stop.is_set():
                        return
                    self.look_after(record)
            except sqlite3.Error as error:
                # such as a full disk
                LOGGER.error("what is stored cannot be recorded: %s", type(error).__name__)

    def look_after(self, record: SeriesRecord) -> None:
        """See what became of the job of a series, and store its results if they are there."""
        job = self._queue.get(record.job)
        if job is None or job.state == "cancelled":
            self._ledger.finish(record.job, "failed", _GONE)
        elif job.state == "expired":
            self._ledger.finish(record.job, "failed", record.error or _EXPIRED)
        elif job.state == "failed":
            self._ledger.finish(record.job, "failed", job.error)
            LOGGER.error("job %s failed: see parafovea pacs status", job.id)
        elif job.state == "completed":
            self._ledger.begin_storing(record.job)
            self._store(record, job)

    def _store(self, record: SeriesRecord, job: Job) -> None:
        folder = self._spool.attempt(job.id, job.attempt) / stem(job.source)
        objects = dicom_results(folder)
        if not objects:
            self._ledger.finish(record.job, "failed", _NOTHING)
            return
        try:
            archive = self._archive(record.target)
            try:
                stored = list(record.stored)
                for path in objects:
                    if path.name in stored:
                        continue
                    archive.store(path)
                    stored.append(path.name)
                    self._ledger.confirm(record.job, stored)
            finally:
                archive.close()
        except ParafoveaError as error:
            self._postpone(record, describe(error))
        except Exception as error:
            # its text may hold anything
            self._postpone(record, f"storing failed: {type(error).__name__}")
        else:
            self._ledger.finish(record.job, "stored")
            LOGGER.info("job %s: %d results are stored at %s", job.id, len(stored), record.target)

    def _postpone(self, record: SeriesRecord, reason: str) -> None:
        since = self._clock() if record.since is None else record.since
        if self._clock() - since > self._give_up:
            self._ledger.finish(record.job, "failed", reason)
            LOGGER.error("job %s: given up, %s", record.job, reason)
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(record.tries, 16))
        self._ledger.postpone(record.job, reason, seconds=pause)
        LOGGER.warning("job %s: tried again in %d s, %s", record.job, pause, reason)
