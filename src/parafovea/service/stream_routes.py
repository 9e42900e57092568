"""Addresses that tell of progress as it happens: server-sent events and WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from http import HTTPStatus

from fastapi import APIRouter, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from parafovea.service.api_examples import refusals
from parafovea.service.inference_service import (
    JobId,
    Service,
    owner_of,
    service_of,
    streams_busy,
)
from parafovea.service.job_messages import events, followed
from parafovea.service.job_queue import Job
from parafovea.service.refusal import Refusal
from parafovea.service.scan_messages import received_scan
from parafovea.service.uploads import ClientGone

router = APIRouter()

#: Close codes of a WebSocket whose upload is refused: too large, later, or for another reason.
CLOSE_CODES = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: 1009, HTTPStatus.TOO_MANY_REQUESTS: 1013}
UNFIT = 1008


@router.get(
    "/api/v1/inference/{job}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."},
        **refusals(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
async def progress(job: JobId, request: Request) -> Response:
    """Tell the progress of a job until it is over, as server-sent events."""
    service = service_of(request)
    found = await asyncio.to_thread(service.job, job, owner_of(request))
    messages = followed(service.queue, service.spool, found)
    return StreamingResponse(events(messages), media_type="text/event-stream")


@router.websocket("/api/v1/inference/stream")
async def scan_stream(websocket: WebSocket) -> None:
    """Take a scan, tell its progress, and end with its detections."""
    service = service_of(websocket)
    with contextlib.suppress(WebSocketDisconnect, ClientGone):
        async with service.streaming() as admitted:
            try:
                if not admitted:
                    await websocket.accept()
                    raise streams_busy()
                with _scan_admitted(websocket):
                    await websocket.accept()
                    found = await _uploaded(websocket, service)
            except Refusal as refusal:
                await _refused(websocket, refusal)
                return
        await _told(websocket, service, found)


@contextlib.contextmanager
def _scan_admitted(websocket: WebSocket) -> Iterator[None]:
    """Let large messages come, if the server does not always."""
    admit = getattr(websocket.state, "admit_scan", None)
    if admit is None:
        yield
        return
    admit(admitted=True)
    try:
        yield
    finally:
        admit(admitted=False)


async def _uploaded(websocket: WebSocket, service: Service) -> Job:
    """Return the job of a scan that comes in messages."""
    await asyncio.to_thread(service.require_room)
    service.limits.require_space(0)
    async with service.receiving() as job:
        header = await received_scan(
            websocket,
            service.spool.job(job),
            service.limits,
            received=getattr(websocket.state, "received", None),
        )
        found, size = await asyncio.to_thread(
            service.admitted,
            job,
            owner_of(websocket),
            filename=header.filename,
            task=header.task,
            config=header.config.encode(),
            metadata=header.metadata,
        )
    service.counted(size)
    return found


async def _refused(websocket: WebSocket, refusal: Refusal) -> None:
    await websocket.send_json({"status": "failed", "progress": 0, "error": refusal.detail})
    await websocket.close(CLOSE_CODES.get(refusal.status, UNFIT))


@router.websocket("/api/v1/inference/{job}/stream")
async def job_stream(websocket: WebSocket, job: str) -> None:
    """Tell the progress of a job until it is over."""
    service = service_of(websocket)
    try:
        found = await asyncio.to_thread(service.job, job, owner_of(websocket))
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
