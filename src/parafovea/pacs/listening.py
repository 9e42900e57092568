"""Series that archives send, predicted and stored back: the receiver and all around it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import ipaddress
import logging
import os
import threading
from pathlib import Path
from typing import Any

from parafovea.config import Settings
from parafovea.config.dicom_output import writes_dicom
from parafovea.errors import ConfigError, ParafoveaError
from parafovea.kinds import kind_named
from parafovea.pacs.archives import target_archive
from parafovea.pacs.receiver import Receiver
from parafovea.pacs.result_storing import ResultStoring
from parafovea.pacs.series_intake import SeriesIntake
from parafovea.pacs.series_ledger import SeriesLedger
from parafovea.runtime.optional_packages import require_extras
from parafovea.service.job_queue import JobQueue
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool
from parafovea.service.worker_processes import WorkerProcesses

LOGGER = logging.getLogger("parafovea.pacs")

#: Seconds between two looks at series that may be complete, and at records that may be forgotten.
LOOK, FORGET = 0.25, 600.0


def ledger_path(spool: Spool) -> Path:
    """Return the database of what was received."""
    return spool.root / "pacs.sqlite3"


class Listening:
    """A receiver, its queue, its workers, and what stores their results.

    Parameters
    ----------
    settings : Settings
        The config, with peers in `pacs`.
    service : ServiceSettings
        Spool, workers, and how long results are kept.

    Raises
    ------
    ConfigError
        If no peer may send, the task is unknown, the address cannot be listened at, or another
        process has the spool.
    MissingExtraError
        If a package is missing that the task's results need.
    """

    def __init__(self, settings: Settings, service: ServiceSettings) -> None:
        pacs = settings.pacs
        if pacs.task not in settings.tasks:
            raise ConfigError(
                f"task {pacs.task!r} of pacs.task is not in the config: tasks are "
                f"{', '.join(settings.tasks)}"
            )
        kind = settings.tasks[pacs.task].kind
        if not writes_dicom(kind_named(kind)):
            raise ConfigError(
                f"pacs.task {pacs.task!r} is of kind {kind}, whose results are not written as "
                "DICOM objects: choose another task"
            )
        require_extras(
            {
                stage.extra: f"task {pacs.task!r} has the stage {stage.name}"
                for stage in kind_named(kind).stages["volume"]
                if stage.extra
            }
        )
        _require_address(pacs.host)
        for name, peer in pacs.peers.items():
            if peer.addresses:
                # a missing variable is found now
                target_archive(pacs, pacs.target(name)).close()
        self._settings = pacs
        self._spool = Spool(service.spool)
        with contextlib.ExitStack() as opened:
            self._lock_spool(service.spool, opened)
            self._queue = JobQueue(self._spool.database)
            opened.callback(self._queue.close)
            self._ledger = SeriesLedger(ledger_path(self._spool))
            opened.callback(self._ledger.close)
            self._intake = SeriesIntake(
                pacs,
                self._spool,
                self._queue,
                self._ledger,
                min_free=service.min_free,
                max_queued=service.max_queued,
            )
            self._storing = ResultStoring(
                self._ledger,
                self._queue,
                self._spool,
                functools.partial(target_archive, pacs),
                give_up=pacs.give_up_seconds,
            )
            self._workers = WorkerProcesses(service, self._spool, self._queue)
            self._receiver = Receiver(pacs, self._intake)
            opened.callback(self._receiver.close)
            # closed here if any of them cannot be opened, otherwise by `close`
            self._opened = opened.pop_all()
        self._stop = threading.Event()

    def _lock_spool(self, folder: Path, opened: contextlib.ExitStack) -> None:
        file = os.open(self._spool.root / "pacs.lock", os.O_RDWR | os.O_CREAT, 0o600)
        opened.callback(os.close, file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another parafovea pacs listen has the folder {folder}: choose another one with "
                "--spool"
            ) from None

    def stop(self, *_: Any) -> None:
        """End `run`; may be called by a signal."""
        self._stop.set()

    def run(self) -> None:
        """Receive, predict and store until `stop` is called.

        Raises
        ------
        ParafoveaError
            If a part of it has ended by itself.
        """
        threads = [
            threading.Thread(target=self._receiver.serve, name="receiver", daemon=True),
            threading.Thread(target=self._storing.run, args=(self._stop,), name="storing"),
        ]
        self._workers.start()
        for thread in threads:
            thread.start()
        try:
            rounds = 0
            while not self._stop.wait(LOOK):
                self._intake.admit_complete()
                if rounds % int(FORGET / LOOK) == 0:
                    self._ledger.forget(self._queue.ids())
                rounds += 1
                for thread in threads:
                    if not thread.is_alive():
                        raise ParafoveaError(
                            f"the thread {thread.name} has ended by itself: see the log, and start "
                            "parafovea pacs listen again, which goes on where it was"
                        )
        finally:
            self._stop.set()
            self._receiver.stop()
            self._workers.stop()
            for thread in threads:
                thread.join()

    def close(self) -> None:
        """Let go of the address and the spool."""
        self._opened.close()


def _require_address(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(
            f"pacs.host {host!r} is no IP address: write that of this machine, or 0.0.0.0"
        ) from None
