"""What the requests of one server share: its queue, its folder, its limits and its workers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Request, WebSocket

from parafovea.config import Settings
from parafovea.service.job_queue import Job, JobQueue, QueueFullError
from parafovea.service.job_results import JobResults
from parafovea.service.offered_models import job_settings, require_task
from parafovea.service.refusal import Refusal
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool
from parafovea.service.upload_files import HEAD, check_file, guessed_name, safe_name
from parafovea.service.upload_metadata import checked_metadata
from parafovea.service.uploads import DISK_FULL, Limits, is_full
from parafovea.service.worker_processes import WorkerProcesses

LOGGER = logging.getLogger("parafovea.service")

#: Seconds after which a client whose upload finds the queue full may try again.
RETRY = 30

#: The id of a job in an address.
JobId = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9_-]{22,64}$", description="Id from the upload's answer.")
]


class Service:
    """What the requests of one server share.

    Parameters
    ----------
    settings : ServiceSettings
        Limits.
    config : Settings
        Tasks that are predicted.

    Raises
    ------
    StoreError
        If the folder of the service cannot be made.
    """

    def __init__(self, settings: ServiceSettings, config: Settings) -> None:
        self.settings = settings
        self.config = config
        self.spool = Spool(settings.spool)
        self.queue = JobQueue(self.spool.database)
        self.workers = WorkerProcesses(settings, self.spool, self.queue)
        self.uploads = Counter(accepted=0, refused=0, bytes=0)
        self._streams = asyncio.Semaphore(settings.max_streams)
        self.limits = Limits(
            size=settings.max_upload,
            patience=settings.patience,
            rate=settings.min_rate,
            free=lambda: self.spool.free() - settings.min_free,
        )

    def job(self, job: str, owner: str) -> Job:
        """Return a job of a client.

        Raises
        ------
        Refusal
            404 if there is none, or if it is another one's.
        """
        found = self.queue.get(job, owner=owner)
        if found is None or found.state == "cancelled":
            raise Refusal(HTTPStatus.NOT_FOUND, "there is no such job: it may have been deleted")
        return found

    def results(self, job: str, owner: str) -> JobResults:
        """Return the results of a job of a client.

        Raises
        ------
        Refusal
            404 without the job, 409 while it runs or if it failed, 410 if they are expired.
        """
        found = self.job(job, owner)
        if found.state == "expired":
            raise Refusal(HTTPStatus.GONE, "the results have expired: upload the scan again")
        if found.state == "failed":
            raise Refusal(HTTPStatus.CONFLICT, f"the job has failed: {found.error}")
        if found.state != "completed":
            raise Refusal(HTTPStatus.CONFLICT, f"the job is {found.state}: ask for its state again")
        return JobResults(self.spool, found)

    def require_room(self) -> None:
        """Refuse an upload while too many jobs wait."""
        if self.queue.states().get("queued", 0) >= self.settings.max_queued:
            raise _queue_full()

    def admitted(
        self,
        job: str,
        owner: str,
        *,
        filename: str,
        task: str,
        config: bytes,
        metadata: str = "",
    ) -> tuple[Job, int]:
        """Check what was uploaded to a job's folder, and put the job into the queue.

        Parameters
        ----------
        job : str
            Id.
        owner : str
            Whose it is.
        filename : str
            Name that the client gave, empty if it gave none.
        task : str
            Name of a task, empty for the default.
        config : bytes
            Config of the guide, empty for none.
        metadata : str
            What the file does not state itself; see `checked_metadata`.

        Returns
        -------
        Job
            The job, which waits.
        int
            Bytes of its file.

        Raises
        ------
        Refusal
            If anything is wrong with them.
        """
        task = task or self.settings.task
        require_task(self.config, task)
        words = checked_metadata(metadata)
        received = self.spool.upload(job) / "file"
        with received.open("rb") as file:
            head = file.read(HEAD)
        place = received.with_name(safe_name(filename) if filename else guessed_name(head))
        received.rename(place)
        check_file(place, max_unpacked=self.settings.max_unpacked)
        own = None
        if config.strip():
            own = self.spool.config(job)
            own.write_bytes(config)
        if words:
            self.spool.metadata(job).write_text(words, encoding="utf-8")
        notes = job_settings(self.config, task, own).notes
        try:
            found = self.queue.submit(
                job,
                owner=owner,
                task=task,
                source=place.name,
                notes=notes,
                most=self.settings.max_queued,
            )
        except QueueFullError:
            raise _queue_full() from None
        return found, place.stat().st_size

    @contextlib.asynccontextmanager
    async def streaming(self) -> AsyncIterator[bool]:
        """Wait until a scan may come by WebSocket, since its message is in memory.

        Yields whether it may; false if others were at it for too long.
        """
        try:
            async with asyncio.timeout(self.settings.patience):
                await self._streams.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._streams.release()

    @contextlib.asynccontextmanager
    async def receiving(self) -> AsyncIterator[str]:
        """Yield an id with a folder for an upload, which is removed if the upload is refused."""
        job = self.queue.new_id()
        try:
            await asyncio.to_thread(self.spool.job(job).mkdir, mode=0o700)
            yield job
        except BaseException as error:
            # not awaited, since this task may be cancelled
            shutil.rmtree(self.spool.job(job), ignore_errors=True)
            if isinstance(error, Refusal | OSError):
                self.uploads["refused"] += 1
            if isinstance(error, OSError):
                raise storage_refusal(error) from None
            raise

    def delete(self, job: str, owner: str) -> None:
        """Cancel a job of a client, and remove its files.

        Raises
        ------
        Refusal
            404 if there is none, or if it is another one's.
        OSError
            If the disk is full and the job still waits or runs.
        """
        found = self.job(job, owner)
        try:
            at_once = self.queue.delete(found.id)
        except OSError:
            if not found.over:
                raise
            # nobody works at its files, whose room the queue can use
            self.spool.remove(found.id)
            at_once = self.queue.delete(found.id)
        if at_once:
            self.spool.remove(found.id)

    def counted(self, size: int) -> None:
        """Count an upload that was accepted."""
        self.uploads["accepted"] += 1
        self.uploads["bytes"] += size


def storage_refusal(error: OSError) -> Refusal:
    """Return the answer to a request that the disk does not allow, and log its kind.

    Parameters
    ----------
    error : OSError
        Its text, which may name a file of the client, is not repeated.
    """
    LOGGER.error("a request failed: %s", errno.errorcode.get(error.errno or 0, "OSError"))
    if is_full(error):
        return Refusal(HTTPStatus.INSUFFICIENT_STORAGE, DISK_FULL)
    return Refusal(
        HTTPStatus.INTERNAL_SERVER_ERROR, "the service could not store this: try again later"
    )


def streams_busy() -> Refusal:
    """Return the answer where as many scans as may be come by WebSocket."""
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too many scans come by WebSocket: try again later",
        retry_after=RETRY,
    )


def _queue_full() -> Refusal:
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS, "too many jobs wait: try again later", retry_after=RETRY
    )


def service_of(connection: Request | WebSocket) -> Service:
    """Return the service that a request is for."""
    found: Service = connection.app.state.service
    return found


def owner_of(connection: Request | WebSocket) -> str:
    """Return whose jobs a request may see; see `parafovea.service.keys`."""
    return str(connection.state.owner)
