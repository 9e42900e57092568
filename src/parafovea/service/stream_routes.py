"""Addresses that tell of progress as it happens: server-sent events and WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from fastapi import APIRouter, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from parafovea.service.api_examples import refusals
from parafovea.service.inference_service import JobId, Service, owner_of, service_of
from parafovea.service.job_messages import events, followed
from parafovea.service.job_queue import Job
from parafovea.service.refusal import Refusal
from parafovea.service.scan_messages import received_scan
from parafovea.service.uploads import ClientGone

router = APIRouter()

#: Close code of a WebSocket whose upload is refused: too large, or for another reason.
TOO_LARGE, UNFIT = 1009, 1008


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
    await websocket.accept()
    service, owner = service_of(websocket), owner_of(websocket)
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
                    metadata=header.metadata,
                )
        except Refusal as refusal:
            message = {"status": "failed", "progress": 0, "error": refusal.detail}
            await websocket.send_json(message)
            large = refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            await websocket.close(TOO_LARGE if large else UNFIT)
            return
        service.counted(size)
        await _told(websocket, service, found)


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
