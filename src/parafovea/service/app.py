"""The service as an ASGI application: uploads, jobs, their progress and their results.

``uvicorn parafovea.service.app:app`` serves it with settings from the environment, ``parafovea
serve`` with options as well. What is predicted, and how, is that of `parafovea predict`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse

from parafovea import __version__
from parafovea.config import Settings, config_files, read_settings
from parafovea.errors import ConfigError
from parafovea.service.access_guard import AccessGuard
from parafovea.service.api_examples import (
    UPLOAD_BODY,
    JobStatus,
    Results,
    Submitted,
    TaskEntry,
    refusals,
)
from parafovea.service.job_messages import events, followed, status
from parafovea.service.job_queue import Job, JobQueue, QueueFullError
from parafovea.service.job_results import FILES, ZIP, JobResults, zip_stream
from parafovea.service.keys import Keys, read_keys
from parafovea.service.offered_models import job_settings, models, require_task, takes_config
from parafovea.service.refusal import Refusal
from parafovea.service.scan_messages import received_scan
from parafovea.service.service_metrics import MEDIA_TYPE, metrics_text
from parafovea.service.service_settings import KEYS_VARIABLE, ServiceSettings
from parafovea.service.spool import Spool
from parafovea.service.upload_files import HEAD, check_file, guessed_name, safe_name
from parafovea.service.uploads import Body, ClientGone, Form, Limits
from parafovea.service.worker_processes import WorkerProcesses

LOGGER = logging.getLogger("parafovea.service")

#: Seconds after which a client whose upload finds the queue full may try again.
RETRY = 30

#: Close code of a WebSocket whose upload is refused: too large, or for another reason.
TOO_LARGE, UNFIT = 1009, 1008

#: Pages of results run their own scripts, and act for nobody.
_PAGE_HEADERS = {"Content-Security-Policy": "sandbox allow-scripts allow-downloads"}

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
        self, job: str, owner: str, *, filename: str, task: str, config: bytes
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
    async def receiving(self) -> AsyncIterator[str]:
        """Yield an id with a folder for an upload, which is removed if the upload is refused."""
        job = self.queue.new_id()
        await asyncio.to_thread(self.spool.job(job).mkdir, mode=0o700)
        try:
            yield job
        except BaseException as error:
            # not awaited, since this task may be cancelled
            shutil.rmtree(self.spool.job(job), ignore_errors=True)
            if isinstance(error, Refusal | OSError):
                self.uploads["refused"] += 1
            if isinstance(error, OSError):
                # its text may name a file of the client
                LOGGER.error(
                    "an upload failed: %s", errno.errorcode.get(error.errno or 0, "OSError")
                )
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                raise Refusal(
                    HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.INTERNAL_SERVER_ERROR,
                    "the upload could not be stored: try again later",
                ) from None
            raise

    def counted(self, size: int) -> None:
        """Count an upload that was accepted."""
        self.uploads["accepted"] += 1
        self.uploads["bytes"] += size


def _queue_full() -> Refusal:
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS, "too many jobs wait: try again later", retry_after=RETRY
    )


def create_app(settings: ServiceSettings | None = None, keys: Keys | None = None) -> FastAPI:
    """Return the service.

    Parameters
    ----------
    settings : ServiceSettings, optional
        By default those of the environment.
    keys : Keys, optional
        By default those of `keys_file` and of the environment.

    Raises
    ------
    ConfigError
        If the settings, the config or the keys are invalid.
    """
    settings = ServiceSettings.from_environment() if settings is None else settings
    if keys is None:
        keys = read_keys(settings.keys_file, os.environ.get(KEYS_VARIABLE, ""))
    config = read_settings(*config_files(list(settings.config)))
    if settings.task not in config.tasks:
        raise ConfigError(
            f"task {settings.task!r} is not in the config: choose one of "
            f"{', '.join(config.tasks)} with --task"
        )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(settings, config)
        app.state.service = service
        service.workers.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.workers.stop)
            service.queue.close()

    app = FastAPI(
        title="Parafovea",
        version=__version__,
        description="Uploads of scans and tiles, their prediction, and its results. "
        "Not a medical device.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.add_middleware(AccessGuard, keys=keys, origins=settings.origins)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    _add_jobs(app)
    _add_results(app)
    _add_streams(app)
    _add_facts(app)
    return app


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  (registered for it)
    return JSONResponse({"detail": error.detail}, int(error.status), headers=error.headers)


def _invalid(request: Request, error: Exception) -> Response:
    # what the client sent is not repeated
    return JSONResponse(
        {"detail": "the address of the request is invalid: see /openapi.json"},
        int(HTTPStatus.UNPROCESSABLE_ENTITY),
    )


def _service(connection: Request | WebSocket) -> Service:
    found: Service = connection.app.state.service
    return found


def _owner(connection: Request | WebSocket) -> str:
    return str(connection.state.owner)


def _add_jobs(app: FastAPI) -> None:
    """Add what makes, shows and deletes jobs."""

    @app.post(
        "/api/v1/inference",
        status_code=HTTPStatus.ACCEPTED,
        response_model=Submitted,
        openapi_extra=UPLOAD_BODY,
        responses=refusals(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            HTTPStatus.INSUFFICIENT_STORAGE,
        ),
    )
    async def submit(request: Request) -> Any:
        """Upload a scan or tiles, and put a job into the queue."""
        service, owner = _service(request), _owner(request)
        body = Body(request.receive, service.limits)
        try:
            await asyncio.to_thread(service.require_room)
            length = request.headers.get("content-length", "")
            # the form is a little larger than its file
            service.limits.require_space(max(0, int(length) - 2**20) if length.isdigit() else 0)
            async with service.receiving() as job:
                form = await Form.received(
                    request.headers.get("content-type", ""),
                    body,
                    service.spool.job(job),
                    service.limits,
                )
                found, size = await asyncio.to_thread(
                    service.admitted,
                    job,
                    owner,
                    filename=form.filename or "file",
                    task=form.fields.get("task", b"").decode("utf-8", "replace").strip(),
                    config=form.fields.get("config", b""),
                )
        except Refusal as refusal:
            await body.drain()
            headers = {**refusal.headers, "Connection": "close"}
            return JSONResponse({"detail": refusal.detail}, int(refusal.status), headers=headers)
        except ClientGone:
            return Response(status_code=int(HTTPStatus.BAD_REQUEST))
        service.counted(size)
        return Submitted(
            job_id=found.id, status=found.state, task=found.task, notes=list(found.notes)
        )

    @app.get("/api/v1/inference", response_model=list[JobStatus], responses=refusals())
    def jobs(request: Request) -> Any:
        """List the newest jobs of the client."""
        service = _service(request)
        found = service.queue.jobs(owner=_owner(request))
        return [status(service.queue, job) for job in found if job.state != "cancelled"]

    @app.get(
        "/api/v1/inference/{job}",
        response_model=JobStatus,
        responses=refusals(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    )
    def state(job: JobId, request: Request) -> Any:
        """Show how far a job is."""
        service = _service(request)
        return status(service.queue, service.job(job, _owner(request)))

    @app.delete(
        "/api/v1/inference/{job}",
        status_code=HTTPStatus.NO_CONTENT,
        responses=refusals(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    )
    def delete(job: JobId, request: Request) -> None:
        """Cancel a job, and remove all of its files."""
        service = _service(request)
        found = service.job(job, _owner(request))
        if service.queue.delete(found.id):
            service.spool.remove(found.id)


def _add_results(app: FastAPI) -> None:
    """Add what gives results."""
    missing = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)

    @app.get(
        "/api/v1/inference/{job}/results",
        response_model=Results,
        responses=refusals(*missing, HTTPStatus.UNPROCESSABLE_ENTITY),
    )
    def results(job: JobId, request: Request) -> Any:
        """Return the detections or the summary of a finished job, and the list of its files."""
        return JSONResponse(_service(request).results(job, _owner(request)).document())

    @app.get(
        "/api/v1/inference/{job}/results/{name}",
        response_class=Response,
        responses={
            200: {"content": {"application/octet-stream": {}}, "description": "The file."},
            **refusals(*missing, HTTPStatus.UNPROCESSABLE_ENTITY),
        },
    )
    def result(
        job: JobId,
        name: Annotated[str, Path(max_length=100, examples=["detections.json"])],
        request: Request,
    ) -> Response:
        """Return a file of the results, or a folder of them as a zip file."""
        found = _service(request).results(job, _owner(request))
        place = found.file(name)
        if place is not None:
            kind = FILES[name]
            headers = _PAGE_HEADERS if kind.startswith("text/html") else {}
            return FileResponse(place, media_type=kind, headers=headers)
        folder = found.zipped_folder(name)
        if folder is not None:
            headers = {"Content-Disposition": f'attachment; filename="{name}"'}
            return StreamingResponse(zip_stream(folder), media_type=ZIP, headers=headers)
        raise Refusal(HTTPStatus.NOT_FOUND, "the job has no such result: see the list of its files")


def _add_streams(app: FastAPI) -> None:
    """Add what tells of progress as it happens."""

    @app.get(
        "/api/v1/inference/{job}/events",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."},
            **refusals(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
        },
    )
    async def progress(job: JobId, request: Request) -> Response:
        """Tell the progress of a job until it is over, as server-sent events."""
        service = _service(request)
        found = await asyncio.to_thread(service.job, job, _owner(request))
        messages = followed(service.queue, service.spool, found)
        return StreamingResponse(events(messages), media_type="text/event-stream")

    @app.websocket("/api/v1/inference/stream")
    async def scan_stream(websocket: WebSocket) -> None:
        """Take a scan, tell its progress, and end with its detections."""
        await websocket.accept()
        service, owner = _service(websocket), _owner(websocket)
        with contextlib.suppress(WebSocketDisconnect, ClientGone):
            try:
                await asyncio.to_thread(service.require_room)
                service.limits.require_space(0)
                async with service.receiving() as job:
                    folder = service.spool.job(job)
                    header = await received_scan(websocket, folder, service.limits)
                    found, size = await asyncio.to_thread(
                        service.admitted,
                        job,
                        owner,
                        filename=header.filename,
                        task=header.task,
                        config=header.config.encode(),
                    )
            except Refusal as refusal:
                message = {"status": "failed", "progress": 0, "error": refusal.detail}
                await websocket.send_json(message)
                large = refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                await websocket.close(TOO_LARGE if large else UNFIT)
                return
            service.counted(size)
            await _told(websocket, service, found)

    @app.websocket("/api/v1/inference/{job}/stream")
    async def job_stream(websocket: WebSocket, job: str) -> None:
        """Tell the progress of a job until it is over."""
        service = _service(websocket)
        try:
            found = await asyncio.to_thread(service.job, job, _owner(websocket))
        except Refusal:
            # before it is accepted: the handshake fails with 403
            await websocket.close(UNFIT)
            return
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            await _told(websocket, service, found)


async def _told(websocket: WebSocket, service: Service, job: Job) -> None:
    async for message in followed(service.queue, service.spool, job):
        await websocket.send_json(message)
    await websocket.close()


def _add_facts(app: FastAPI) -> None:
    """Add what says what the service has and how it is."""

    @app.get("/api/v1/tasks", response_model=list[TaskEntry], responses=refusals())
    def tasks(request: Request) -> Any:
        """List the tasks that uploads may name."""
        service = _service(request)
        return [
            TaskEntry(
                name=name,
                kind=task.kind,
                model=os.path.basename(str(task.model)),  # noqa: PTH119  (a name alone)
                takes_config=takes_config(task),
                default=name == service.settings.task,
            )
            for name, task in service.config.tasks.items()
        ]

    @app.get("/api/v1/models", response_model=list[str], responses=refusals())
    def model_names(request: Request) -> Any:
        """List the models that a config may name in `model.checkpoint`."""
        return sorted(models(_service(request).config))

    @app.get(
        "/healthz",
        responses={int(HTTPStatus.SERVICE_UNAVAILABLE): {"description": "It takes no uploads."}},
    )
    def health(request: Request) -> JSONResponse:
        """Say whether uploads are taken and workers run."""
        service = _service(request)
        alive = service.workers.alive()
        problems = []
        if service.limits.free() <= 0:
            problems.append("the disk is almost full")
        if alive == 0 and service.settings.workers:
            problems.append("no worker runs")
        code = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        return JSONResponse({"status": "; ".join(problems) or "ok"}, int(code))

    @app.get("/metrics", response_class=PlainTextResponse, responses=refusals())
    def metrics(request: Request) -> Response:
        """Return numbers for Prometheus."""
        service = _service(request)
        text = metrics_text(
            service.queue,
            service.spool,
            workers=service.workers.alive(),
            uploads=service.uploads,
        )
        return Response(text, media_type=MEDIA_TYPE)


def __getattr__(name: str) -> Any:
    """Make the application of the environment when a server asks for it."""
    if name == "app":
        found = globals()["app"] = create_app()
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
