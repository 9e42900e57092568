"""Addresses of the results of a job: what was found, and files."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from parafovea.service.api_examples import NO_RESULTS, Results, refusals
from parafovea.service.inference_service import JobId, owner_of, service_of
from parafovea.service.job_results import FILES, ZIP, zip_stream
from parafovea.service.refusal import Refusal

router = APIRouter()

#: Pages of results run their own scripts, and act for nobody.
_PAGE_HEADERS = {"Content-Security-Policy": "sandbox allow-scripts allow-downloads"}


@router.get(
    "/api/v1/inference/{job}/results",
    response_model=Results,
    responses=refusals(*NO_RESULTS, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def results(job: JobId, request: Request) -> Any:
    """Return the detections or the summary of a finished job, and the list of its files."""
    return JSONResponse(service_of(request).results(job, owner_of(request)).document())


@router.head("/api/v1/inference/{job}/results/{name}", include_in_schema=False)
@router.get(
    "/api/v1/inference/{job}/results/{name}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file."},
        **refusals(*NO_RESULTS, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
def result(
    job: JobId,
    name: Annotated[str, Path(max_length=100, examples=["detections.json"])],
    request: Request,
) -> Response:
    """Return a file of the results, or a folder of them as a zip file."""
    found = service_of(request).results(job, owner_of(request))
    place = found.file(name)
    if place is not None:
        kind = FILES[name]
        headers = _PAGE_HEADERS if kind.startswith("text/html") else {}
        return FileResponse(place, media_type=kind, headers=headers)
    folder = found.zipped_folder(name)
    if folder is not None:
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        told = request.method == "HEAD"  # the size of a zip file is known when it has been made
        return StreamingResponse(
            () if told else zip_stream(folder), media_type=ZIP, headers=headers
        )
    raise Refusal(HTTPStatus.NOT_FOUND, "the job has no such result: see the list of its files")
