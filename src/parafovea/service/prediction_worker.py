"""A worker of the service: takes jobs from the queue, one at a time, and predicts them.

``python -m parafovea.service.prediction_worker`` is one. Its settings are in the environment. It
ends when its standard input is closed, which is when its server dies, and says nothing of what it
reads: what stages and libraries print or log may name patients.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Never

from parafovea.config import config_files, read_settings
from parafovea.errors import ParafoveaError, describe
from parafovea.runtime.devices import DEVICE_VARIABLE, choose_device
from parafovea.runtime.library_logs import quiet_libraries
from parafovea.service.error_places import error_places
from parafovea.service.job_prediction import (
    JobPrediction,
    Outcome,
    Predict,
    failed_at_file,
)
from parafovea.service.job_queue import Job, JobQueue
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool
from parafovea.service.uploads import DISK_FULL, is_full
from parafovea.service.worker_names import own_name

LOGGER = logging.getLogger("parafovea.service")

#: Seconds between two looks at an empty queue, after which a full disk is tried again, and between
#: two records of progress.
PAUSE, FULL, STEP = 0.2, 5.0, 0.5

#: Heartbeats during a lease.
BEATS = 6

#: Seconds that a stage may go on after its job was cancelled or lost, before the process ends.
GRACE = 10.0


class JobLost(BaseException):
    """The job of a worker was cancelled, or was given to another worker."""


class Worker:
    """Takes jobs from a queue and predicts them.

    Parameters
    ----------
    queue : JobQueue
        The queue.
    spool : Spool
        Where the jobs are.
    predict : callable
        Predicts a job.
    lease : float
        Seconds for which a job is taken.
    attempts : int
        Times that a job may be begun.
    end : callable
        Ends the process, if a stage does not.
    """

    def __init__(
        self,
        queue: JobQueue,
        spool: Spool,
        predict: Predict,
        *,
        lease: float,
        attempts: int,
        end: Callable[[], object] = lambda: os._exit(1),
    ) -> None:
        self.name = own_name()
        self._queue = queue
        self._spool = spool
        self._predict = predict
        self._lease = lease
        self._attempts = attempts
        self._end = end

    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Take jobs until `stop` returns true."""
        while not stop():
            try:
                if not self.run_one():
                    time.sleep(PAUSE)
            except OSError as error:
                # a full disk: jobs wait, and one that this worker had is free after its lease
                kind = errno.errorcode.get(error.errno or 0, "OSError")
                LOGGER.error("the queue cannot be written: %s", kind)
                time.sleep(FULL)

    def run_one(self) -> bool:
        """Take a job and predict it; return whether there was one."""
        job = self._queue.claim(self.name, lease=self._lease, attempts=self._attempts)
        if job is None:
            return False
        begin = time.monotonic()
        done, lost = threading.Event(), threading.Event()
        beats = threading.Thread(target=self._beat, args=(job, done, lost), daemon=True)
        beats.start()
        LOGGER.info("job %s begins, attempt %d", job.id, job.attempt)
        try:
            # what an attempt left that was killed
            self._spool.forget_attempts(job.id)
            outcome = self._predict(job, self._observer(job, lost))
            self._record(job, outcome)
            seconds = time.monotonic() - begin
            LOGGER.info("job %s is over after %.1f s", job.id, seconds)
        except JobLost:
            LOGGER.info("job %s was cancelled, or is another worker's", job.id)
            shutil.rmtree(self._spool.attempt(job.id, job.attempt), ignore_errors=True)
            self._queue.let_go(job)
        except Exception as error:
            # its text may hold anything
            LOGGER.error("job %s failed: %s", job.id, error_places(error))
            self._spool.forget_attempts(job.id)
            reason = failed_at_file(type(error).__name__)
            if is_full(error):
                reason = DISK_FULL
            self._queue.fail(job, reason, size=self._spool.size(job.id))
        except BaseException:
            self._queue.requeue(job)
            raise
        finally:
            done.set()
            beats.join()
        return True

    def _record(self, job: Job, outcome: Outcome) -> None:
        failed = outcome.error is not None
        self._spool.forget_attempts(job.id, but=0 if failed else job.attempt)
        size = self._spool.size(job.id)
        if outcome.error is not None:
            there = self._queue.fail(job, outcome.error, size=size)
        else:
            there = self._queue.complete(job, found=outcome.found, size=size)
        if not there:
            raise JobLost

    def _observer(self, job: Job, lost: threading.Event) -> Callable[[str, float], None]:
        last = [("", -STEP)]

        def observe(stage: str, share: float) -> None:
            if lost.is_set():
                raise JobLost
            before, moment = last[0]
            now = time.monotonic()
            if stage == before and now - moment < STEP:
                return
            last[0] = (stage, now)
            # a full disk keeps no job from its end
            with contextlib.suppress(OSError):
                if not self._queue.progress(job, stage, share):
                    raise JobLost

        return observe

    def _beat(self, job: Job, done: threading.Event, lost: threading.Event) -> None:
        """Extend the lease until the job is done, and end the process if it does not give it up."""
        while not done.wait(self._lease / BEATS):
            held = True
            with contextlib.suppress(OSError):
                held = self._queue.extend(job, lease=self._lease)
            if not held:
                lost.set()
                if not done.wait(GRACE):
                    self._end()
                return


def _end_with_the_server() -> None:
    """End this process at the end of its standard input."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _terminate(number: int, frame: FrameType | None) -> Never:
    raise SystemExit(0)


def _only_own_words() -> None:
    """Send what this module logs to the standard error, and everything else nowhere."""
    handler = logging.StreamHandler(os.fdopen(os.dup(2), "w"))
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(capture=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def main() -> None:
    """Run a worker until it is terminated, on the device that is its argument, if any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    _end_with_the_server()
    _only_own_words()
    quiet_libraries()
    if sys.argv[1:]:
        os.environ[DEVICE_VARIABLE] = sys.argv[1]
    try:
        choose_device()
        service = ServiceSettings.from_environment()
        settings = read_settings(*config_files(list(service.config)))
        spool = Spool(service.spool)
        with JobQueue(spool.database) as queue:
            predict = JobPrediction(settings, service, spool)
            worker = Worker(queue, spool, predict, lease=service.lease, attempts=service.attempts)
            LOGGER.info("worker %d waits for jobs", os.getpid())
            worker.run()
    except ParafoveaError as error:
        LOGGER.error("a worker cannot start: %s", describe(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
