"""Addresses that make, show and delete jobs."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from parafovea.service.api_examples import UPLOAD_BODY, JobStatus, Submitted, refusals
from parafovea.service.inference_service import JobId, owner_of, service_of
from parafovea.service.job_messages import status
from parafovea.service.refusal import Refusal
from parafovea.service.uploads import AROUND, Body, ClientGone, Form

router = APIRouter()


@router.post(
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
    service, owner = service_of(request), owner_of(request)
    body = Body(request.receive, service.limits)
    try:
        await asyncio.to_thread(service.require_room)
        length = request.headers.get("content-length", "")
        # the form is a little larger than its file
        service.limits.require_space(max(0, int(length[:20]) - AROUND) if length.isdecimal() else 0)
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
                task=form.text("task").strip(),
                config=form.fields.get("config", b""),
                metadata=form.text("metadata"),
            )
    except Refusal as refusal:
        await body.drain()
        headers = {**refusal.headers, "Connection": "close"}
        return JSONResponse({"detail": refusal.detail}, int(refusal.status), headers=headers)
    except ClientGone:
        return Response(status_code=int(HTTPStatus.BAD_REQUEST))
    service.counted(size)
    return Submitted(job_id=found.id, status=found.state, task=found.task, notes=list(found.notes))


@router.get("/api/v1/inference", response_model=list[JobStatus], responses=refusals())
def jobs(request: Request) -> Any:
    """List the newest jobs of the client."""
    service = service_of(request)
    found = service.queue.jobs(owner=owner_of(request))
    return [status(service.queue, job) for job in found if job.state != "cancelled"]


@router.get(
    "/api/v1/inference/{job}",
    response_model=JobStatus,
    responses=refusals(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def state(job: JobId, request: Request) -> Any:
    """Show how far a job is."""
    service = service_of(request)
    return status(service.queue, service.job(job, owner_of(request)))


@router.delete(
    "/api/v1/inference/{job}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=refusals(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def delete(job: JobId, request: Request) -> None:
    """Cancel a job, and remove all of its files."""
    service_of(request).delete(job, owner_of(request))
