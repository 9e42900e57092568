"""Series as they arrive: objects on the disk, until nothing more comes; then a job of the queue.

An object is confirmed once it is on the disk under its own name. A series lies in a folder of its
peer until its job is in the queue, so that nothing is lost and nothing is done twice, whenever this
process is killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from parafovea.pacs.received_objects import ReceivedObject, RefusedObject, is_uid
from parafovea.pacs.series_ledger import SeriesLedger, SeriesRecord
from parafovea.service.job_queue import JobQueue, QueueFullError
from parafovea.service.spool import Spool
from parafovea.settings.pacs import PEER_NAME, PacsSettings

LOGGER = logging.getLogger("parafovea.pacs")

#: Owner of the jobs; no key has this name.
OWNER = "pacs"

#: Name of a series in its job, which names the folder of its results.
SCAN = "received-scan"

#: In the folder of a series: its study, and the job that it is becoming.
_STUDY, _JOB = ".study", ".job"

_ENDING = ".dcm"


@dataclass
class _Arriving:
    """A series that is not complete."""

    study: str
    sizes: dict[str, int] = field(default_factory=dict)
    last: float = 0.0
    #: Associations that are there and whose last object was of it.
    open: set[int] = field(default_factory=set)
    #: Objects that are being written.
    writing: int = 0


class SeriesIntake:
    """Takes objects of peers, and puts complete series into the queue.

    Parameters
    ----------
    settings : PacsSettings
        Limits, and when a series is complete.
    spool : Spool
        Where series and jobs are.
    queue : JobQueue
        Queue of the jobs.
    ledger : SeriesLedger
        What became of series.
    min_free : int
        Bytes of the disk that stay free.
    max_queued : int
        Most jobs that wait.
    clock : callable
        Returns seconds that only grow.
    """

    def __init__(
        self,
        settings: PacsSettings,
        spool: Spool,
        queue: JobQueue,
        ledger: SeriesLedger,
        *,
        min_free: int,
        max_queued: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = spool.root / "received"
        self._settings = settings
        self._spool = spool
        self._queue = queue
        self._ledger = ledger
        self._min_free = min_free
        self._max_queued = max_queued
        self._clock = clock
        self._lock = threading.RLock()
        self._arriving: dict[tuple[str, str], _Arriving] = {}
        self.root.mkdir(mode=0o700, exist_ok=True)
        self._recover()

    def folder(self, peer: str, series: str) -> Path:
        """Return the folder of a series that is not complete."""
        return self.root / peer / series

    def add(self, peer: str, found: ReceivedObject, data: bytes, *, association: int) -> bool:
        """Write an object to the disk.

        Parameters
        ----------
        peer : str
            Name of the peer that sent it.
        found : ReceivedObject
            Its header.
        data : bytes
            The object as a DICOM file.
        association : int
            By which it came; `released` tells its end.

        Returns
        -------
        bool
            False if it was there already.

        Raises
        ------
        RefusedObject
            If there is no room for it, or its series has more than one study.
        OSError
            If it cannot be written.
        """
        with self._lock:
            series = self._series(peer, found)
            series.last = self._clock()
            for other in self._arriving.values():
                other.open.discard(association)
            series.open.add(association)
            if found.instance in series.sizes:
                return False
            self._require_room(series, len(data))
            place = self.folder(peer, found.series) / f"{found.instance}{_ENDING}"
            # counted while it is written, so that others cannot pass the limit meanwhile
            series.sizes[found.instance] = len(data)
            series.writing += 1
        try:
            _write(place, data)
        except BaseException:
            with self._lock:
                series.sizes.pop(found.instance, None)
            raise
        finally:
            with self._lock:
                series.writing -= 1
                series.last = self._clock()
        return True

    def _series(self, peer: str, found: ReceivedObject) -> _Arriving:
        series = self._arriving.get((peer, found.series))
        if series is None:
            folder = self.folder(peer, found.series)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(folder / _STUDY, found.study.encode())
            series = self._arriving[peer, found.series] = _Arriving(found.study)
        if series.study != found.study:
            raise RefusedObject("objects of one series name two studies", full=False)
        return series

    def _require_room(self, series: _Arriving, size: int) -> None:
        settings = self._settings
        if sum(series.sizes.values()) + size > settings.max_series_bytes:
            raise RefusedObject(
                f"the series has more than {settings.max_series_bytes} bytes "
                "(pacs.max_series_bytes)",
                full=True,
            )
        if len(series.sizes) >= settings.max_series_instances:
            raise RefusedObject(
                f"the series has more than {settings.max_series_instances} objects "
                "(pacs.max_series_instances)",
                full=True,
            )
        if self._spool.free() - size < self._min_free:
            raise RefusedObject("the disk of the receiver is almost full", full=True)

    def released(self, association: int) -> None:
        """Note that an association has ended, however it did."""
        with self._lock:
            for series in self._arriving.values():
                if association in series.open:
                    series.open.discard(association)
                    series.last = self._clock()

    def admit_complete(self) -> int:
        """Put all series into the queue that are complete, and return how many were new jobs."""
        admitted = 0
        with self._lock:
            limit = self._clock() - self._settings.quiet_seconds
            complete = [
                key
                for key, series in self._arriving.items()
                if series.sizes and not (series.open or series.writing) and series.last <= limit
            ]
            for peer, uid in complete:
                try:
                    admitted += self._admit(peer, uid)
                except QueueFullError:
                    # it stays where it is
                    LOGGER.warning("too many jobs wait: a series waits for the queue")
                    break
                except (OSError, sqlite3.Error) as error:
                    # such as a full disk: it is tried again
                    LOGGER.error("a series waits for the queue: %s", type(error).__name__)
                    break
                del self._arriving[peer, uid]
        return admitted

    def _admit(self, peer: str, uid: str) -> bool:
        """Make a job of a series, unless all of it was received before; return whether it did."""
        folder, found = self.folder(peer, uid), self._arriving[peer, uid]
        new = set(found.sizes)
        earlier = self._ledger.latest(peer, uid)
        if earlier is not None and new <= set(earlier.instances):
            LOGGER.info("a series was received again, of job %s: nothing to do", earlier.job)
            shutil.rmtree(folder)
            return False
        job = self._queue.new_id()
        _write(folder / _JOB, job.encode())
        try:
            instances = self._filled(job, folder, new, earlier)
            self._ledger.add(
                job,
                peer=peer,
                target=self._settings.target(peer),
                study=found.study,
                series=uid,
                instances=instances,
            )
            if earlier is not None:
                # before there is another job: results of a part are not stored beside those of all
                self._ledger.finish(earlier.job, "replaced")
            self._queue.submit(
                job,
                owner=OWNER,
                task=self._settings.task,
                source=SCAN,
                most=self._max_queued,
            )
        except Exception:
            self._forget_job(job)
            (folder / _JOB).unlink()
            raise
        LOGGER.info("job %s: a series of %d objects from %s", job, len(instances), peer)
        if earlier is not None and earlier.state != "stored" and self._queue.delete(earlier.job):
            self._spool.remove(earlier.job)
        shutil.rmtree(folder)
        return True

    def _filled(
        self, job: str, folder: Path, new: set[str], earlier: SeriesRecord | None
    ) -> list[str]:
        """Link the objects of a series into the folder of its job, and return their UIDs."""
        upload = self._spool.upload(job) / SCAN
        upload.mkdir(mode=0o700, parents=True)
        self._spool.dicom_wanted(job).touch(mode=0o600)
        names = {f"{instance}{_ENDING}" for instance in new}
        _link(folder, upload, names)
        if earlier is not None:
            # more of a series that was complete: all of it, as far as it is still there
            before = self._spool.upload(earlier.job) / SCAN
            rest = {f"{instance}{_ENDING}" for instance in earlier.instances} - names
            if rest and before.is_dir():
                _link(before, upload, rest)
        return [place.name.removesuffix(_ENDING) for place in upload.iterdir()]

    def _forget_job(self, job: str) -> None:
        self._ledger.remove(job)
        self._spool.remove(job)

    def _recover(self) -> None:
        """Take up the series that an earlier process left, killed or not."""
        for peer, uid, folder in _series_folders(self.root):
            job = folder / _JOB
            if job.is_file():
                name = job.read_text(encoding="ascii")
                if self._queue.get(name) is not None:
                    shutil.rmtree(folder)
                    continue
                self._forget_job(name)
                job.unlink()
            for left in folder.glob(".*"):
                if left.name not in (_STUDY, _JOB):
                    left.unlink()
            study = folder / _STUDY
            sizes = {
                place.name.removesuffix(_ENDING): place.stat().st_size
                for place in folder.glob(f"*{_ENDING}")
            }
            if not study.is_file() or not sizes:
                shutil.rmtree(folder)
                continue
            found = _Arriving(study.read_text(encoding="ascii"), sizes, self._clock())
            self._arriving[peer, uid] = found
            LOGGER.info("a series of %d objects from %s is taken up again", len(sizes), peer)

    def waiting(self) -> int:
        """Return the number of series that are not complete."""
        with self._lock:
            return len(self._arriving)


def _series_folders(root: Path) -> Iterator[tuple[str, str, Path]]:
    for peer in sorted(root.iterdir()):
        if not PEER_NAME.fullmatch(peer.name) or not peer.is_dir():
            continue
        for folder in sorted(peer.iterdir()):
            if is_uid(folder.name) and folder.is_dir():
                yield peer.name, folder.name, folder


def _write(place: Path, data: bytes) -> None:
    """Write a file that is on the disk, whole and under its name, when this returns."""
    partial = place.with_name(f".{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(source: Path, target: Path, names: set[str]) -> None:
    """Link files into another folder of the same disk; the data are there once."""
    for name in names:
        with contextlib.suppress(FileExistsError):
            os.link(source / name, target / name)
