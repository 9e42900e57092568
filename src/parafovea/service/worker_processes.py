"""The worker processes of a service: started, started again when they end, and stopped.

Of several servers with one spool, the one that holds its lock has the workers; when it dies, its
workers end, and another takes over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from parafovea.service.job_queue import JobQueue
from parafovea.service.service_settings import KEYS_VARIABLE, ServiceSettings
from parafovea.service.spool import Spool
from parafovea.service.worker_names import is_dead

LOGGER = logging.getLogger("parafovea.service")

#: Seconds between two looks at the workers, two sweeps of the results, and two searches for folders
#: of no job.
LOOK, SWEEP, SEARCH = 0.5, 3.0, 600.0

#: Seconds that workers have to end.
LAST = 15.0

#: A worker that ends sooner than this is started again later and later, up to so many seconds.
SOON, LATEST = 10.0, 60.0

#: Seconds after which a folder of no job is removed.
ORPHANED = 3600.0


@dataclass
class _Place:
    """A worker, and when its next one may start."""

    device: str | None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    next_start: float = 0.0
    failures: int = 0


class WorkerProcesses:
    """Starts workers and sweeps results in a thread of its own.

    Parameters
    ----------
    settings : ServiceSettings
        How many, on which devices, and how long results are kept.
    spool : Spool
        Where the jobs are.
    queue : JobQueue
        The queue.
    """

    def __init__(self, settings: ServiceSettings, spool: Spool, queue: JobQueue) -> None:
        self._settings = settings
        self._spool = spool
        self._queue = queue
        devices = settings.devices or (None,)
        self._places = [
            _Place(devices[number % len(devices)]) for number in range(settings.workers)
        ]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
        self._lock = -1

    def start(self) -> None:
        """Start the workers, as soon as no other server has them."""
        self._thread.start()

    def stop(self) -> None:
        """End the workers. What they were at waits for the next ones."""
        self._stop.set()
        self._thread.join()

    def alive(self) -> int | None:
        """Return the number of workers that run; None if another server has them."""
        if self._lock < 0:
            return None
        return sum(
            place.process is not None and place.process.poll() is None for place in self._places
        )

    def _run(self) -> None:
        try:
            while not self._locked():
                if self._stop.wait(LOOK):
                    return
            swept = searched = -math.inf
            while not self._stop.is_set():
                now = time.monotonic()
                try:
                    self._look()
                    if now - swept >= SWEEP:
                        swept = now
                        self._sweep()
                    if now - searched >= SEARCH:
                        searched = now
                        self._remove(self._spool.orphans(self._queue.ids(), age=ORPHANED))
                except OSError as error:
                    # a full disk, which may have room the next time
                    kind = errno.errorcode.get(error.errno or 0, "OSError")
                    LOGGER.error("workers and results cannot be looked after: %s", kind)
                    self._stop.wait(SWEEP)
                self._stop.wait(LOOK)
        except Exception:
            LOGGER.exception("the workers are no longer looked after")
            raise
        finally:
            self._end()

    def _locked(self) -> bool:
        file = os.open(self._spool.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._lock = file
        return True

    def _look(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.process is not None and place.process.poll() is not None:
                LOGGER.warning("a worker has ended with status %d", place.process.returncode)
                _close(place.process)
                place.process = None
                place.failures = place.failures + 1 if now - place.started < SOON else 0
                place.next_start = now + min(LATEST, 2.0**place.failures - 1)
            if place.process is None and now >= place.next_start:
                place.process = self._started(place.device)
                place.started = now
        for worker in self._queue.holders():
            if is_dead(worker):
                self._queue.release(worker, attempts=self._settings.attempts)

    def _started(self, device: str | None) -> subprocess.Popen[bytes]:
        environment = {name: text for name, text in os.environ.items() if name != KEYS_VARIABLE}
        environment |= self._settings.environment()
        command = [sys.executable, "-m", "parafovea.service.prediction_worker"]
        if device is not None:
            command.append(device)
        # its standard input is closed when this process dies, however it does
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)  # noqa: S603

    def _sweep(self) -> None:
        """Remove the files of jobs that are cancelled, too old or too many."""
        seconds, size = self._settings.keep_seconds, self._settings.keep_bytes
        try:
            self._remove(self._queue.swept(keep_seconds=seconds, keep_bytes=size))
        except OSError:
            # the queue needs the room of what it would record as removed
            self._remove(self._queue.expirable(keep_seconds=seconds, keep_bytes=size))
            raise

    def _remove(self, jobs: Iterable[str]) -> None:
        for job in jobs:
            self._spool.remove(job)

    def _end(self) -> None:
        running = [place.process for place in self._places if place.process is not None]
        for process in running:
            process.terminate()
        limit = time.monotonic() + LAST
        for process in running:
            try:
                process.wait(max(0.1, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close(process)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
