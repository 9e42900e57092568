"""Addresses that say what the service has, and how it is."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from parafovea.service.api_examples import TaskEntry, refusals
from parafovea.service.inference_service import service_of
from parafovea.service.offered_models import models, takes_config
from parafovea.service.service_metrics import MEDIA_TYPE, metrics_text

router = APIRouter()


@router.get("/api/v1/tasks", response_model=list[TaskEntry], responses=refusals())
def tasks(request: Request) -> Any:
    """List the tasks that uploads may name."""
    service = service_of(request)
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


@router.get("/api/v1/models", response_model=list[str], responses=refusals())
def model_names(request: Request) -> Any:
    """List the models that a config may name in `model.checkpoint`."""
    return sorted(models(service_of(request).config))


@router.get(
    "/healthz",
    responses={int(HTTPStatus.SERVICE_UNAVAILABLE): {"description": "It takes no uploads."}},
)
def health(request: Request) -> JSONResponse:
    """Say whether uploads are taken and workers run."""
    service = service_of(request)
    alive = service.workers.alive()
    problems = []
    if service.limits.free() <= 0:
        problems.append("the disk is almost full")
    if alive == 0 and service.settings.workers:
        problems.append("no worker runs")
    code = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return JSONResponse({"status": "; ".join(problems) or "ok"}, int(code))


@router.get("/metrics", response_class=PlainTextResponse, responses=refusals())
def metrics(request: Request) -> Response:
    """Return numbers for Prometheus."""
    service = service_of(request)
    text = metrics_text(
        service.queue,
        service.spool,
        workers=service.workers.alive(),
        uploads=service.uploads,
    )
    return Response(text, media_type=MEDIA_TYPE)
