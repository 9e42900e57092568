"""The page of the service in a browser: its own files, and what it shows of a finished job.

The files need no key and say nothing of any job: what the page shows comes from the same addresses
as for all clients. A browser runs the scripts in the page's folder and no others.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from parafovea.service.api_examples import NO_RESULTS, Viewer, refusals
from parafovea.service.inference_service import JobId, owner_of, service_of
from parafovea.service.refusal import Refusal
from parafovea.service.viewer_files import viewer_document, viewer_file

router = APIRouter()

FOLDER = FilePath(__file__).with_name("page")

INDEX = "index.html"

#: The viewer of scans; its version is in its name.
NIIVUE = "niivue-0.69.0.umd.js"

_SCRIPT = "text/javascript; charset=utf-8"

#: Files of the page with their media types, by the last part of their address.
FILES: Mapping[str, str] = {
    INDEX: "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.js": _SCRIPT,
    "elements.js": _SCRIPT,
    "service_calls.js": _SCRIPT,
    "chosen_files.js": _SCRIPT,
    "stored_zip.js": _SCRIPT,
    "upload_form.js": _SCRIPT,
    "job_list.js": _SCRIPT,
    "job_result.js": _SCRIPT,
    "scan_viewer.js": _SCRIPT,
    "tile_pairs.js": _SCRIPT,
    NIIVUE: _SCRIPT,
}

#: Where files lie that are not the project's own.
_FOLDERS = {NIIVUE: FOLDER / "vendor"}

#: What a browser lets the page do. NiiVue makes its fonts of `data:` pictures.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_AGES = {NIIVUE: "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page as it is sent.

    Parameters
    ----------
    content, packed : bytes
        The file, and by gzip.
    tag : str
        Names the content, for browsers that have it.
    """

    content: bytes
    packed: bytes
    tag: str


@cache
def page_file(name: str) -> PageFile:
    """Return a file of the page; it is read and packed once."""
    content = (_FOLDERS.get(name, FOLDER) / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return PageFile(content, gzip.compress(content, mtime=0), tag)


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
def index(request: Request) -> Response:
    """Return the page."""
    return _answer(request, INDEX)


@router.api_route("/page/{name}", methods=["GET", "HEAD"], include_in_schema=False)
def part(name: str, request: Request) -> Response:
    """Return a script or a style of the page."""
    if name not in FILES or name == INDEX:
        raise Refusal(HTTPStatus.NOT_FOUND, "the page has no such file: open / in a browser")
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    file = page_file(name)
    headers = {
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": _AGES.get(name, "no-cache"),
        "ETag": file.tag,
        "Vary": "Accept-Encoding",
    }
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=int(HTTPStatus.NOT_MODIFIED), headers=headers)
    content = file.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = file.packed
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=FILES[name], headers=headers)


@router.get(
    "/api/v1/inference/{job}/viewer",
    response_model=Viewer,
    responses=refusals(*NO_RESULTS, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def viewer(job: JobId, request: Request) -> Response:
    """Return what the page shows of a finished job: a scan, tiles or figures."""
    found = service_of(request).results(job, owner_of(request))
    return JSONResponse(viewer_document(found.viewer))


@router.get(
    "/api/v1/inference/{job}/viewer/{name}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file."},
        **refusals(*NO_RESULTS, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
def shown(
    job: JobId,
    name: Annotated[str, Path(max_length=100, examples=["scan.nii.gz"])],
    request: Request,
) -> Response:
    """Return a file that the page shows."""
    found = service_of(request).results(job, owner_of(request))
    place = viewer_file(found.viewer, name)
    if place is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "the job has no such file to show: see its viewer")
    kind = "image/png" if place.suffix == ".png" else "application/gzip"
    return FileResponse(place, media_type=kind)
