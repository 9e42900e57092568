"""Schemas and examples of the service's interface, as OpenAPI shows them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from parafovea.service.job_queue import State
from parafovea.service.upload_metadata import EXAMPLE, WORDS

_ID = "hM2bqcCEJDJ6NSoFAsWrn3yqTe4QdXKZ"

#: A config as an upload may carry it.
CONFIG = """\
inference:
  patch_size: [128, 128, 128]
  stride: [64, 64, 64]
post_processing:
  peak_detection: {threshold: 0.5, min_distance: 10}
"""


class Submitted(BaseModel):
    """A job that was accepted."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"job_id": _ID, "status": "queued", "task": "nodules"}}
    )

    job_id: str = Field(description="Id of the job, which cannot be guessed.")
    status: State
    task: str
    notes: list[str] = Field([], description="What the config says that has no effect.")


class JobStatus(BaseModel):
    """State of a job."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job_id": _ID,
                "status": "running",
                "task": "nodules",
                "stage": "infer_shard",
                "progress": 42.5,
                "remaining_seconds": 31.0,
                "created": "2026-01-31T12:00:00Z",
                "started": "2026-01-31T12:00:01Z",
            }
        }
    )

    job_id: str
    status: State
    task: str
    stage: str | None = Field(None, description="Stage that runs.")
    progress: float = Field(0, description="Percent of the work that is done.")
    remaining_seconds: float | None = None
    position: int | None = Field(None, description="Jobs before it in the queue.")
    created: str | None = None
    started: str | None = None
    finished: str | None = None
    found: int | None = Field(None, description="Number of detections or objects.")
    error: str | None = None
    notes: list[str] = []


class ResultFile(BaseModel):
    """A file of the results."""

    name: str
    media_type: str
    bytes: int | None


class Results(BaseModel):
    """Results of a job: those of detections.json, if the task finds any, and the list of files."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "job_id": _ID,
                "status": "completed",
                "task": "nodules",
                "found": 1,
                "scan_id": "scan",
                "model": "nodule",
                "detections": [
                    {"id": 0, "coordinates": [45.5, -12.8, 89.2], "diameter_mm": 8.5,
                     "confidence": 0.92}
                ],
                "files": [
                    {"name": "detections.csv", "media_type": "text/csv; charset=utf-8",
                     "bytes": 120}
                ],
            }
        },
    )  # fmt: skip

    job_id: str
    status: State
    task: str
    found: int | None = None
    notes: list[str] = []
    files: list[ResultFile]


class TilePictures(BaseModel):
    """Pictures of a tile before and after, and its pixels."""

    name: str
    before: str
    after: str
    width: int
    height: int


class Picture(BaseModel):
    """A figure of the report."""

    file: str
    title: str


class Viewer(BaseModel):
    """What there is to show of a job; names are those of files below this address.

    Of a scan with more voxels than a browser takes, every so many along x, y, z are shown: `steps`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"scan": "scan.nii.gz", "heatmap": "heatmap.nii.gz", "steps": [1, 1, 1]}
        }
    )

    scan: str | None = None
    heatmap: str | None = None
    steps: list[int] | None = None
    pairs: list[TilePictures] | None = None
    pictures: list[Picture] | None = None


class TaskEntry(BaseModel):
    """A task that the service predicts."""

    name: str
    kind: str
    model: str
    takes_config: bool
    default: bool


class Problem(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"detail": "there is no such job: it may have been deleted"}}
    )

    detail: str


#: Answers where a job has no results: none of this name, not yet, or no longer.
NO_RESULTS = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)


def refusals(*codes: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the entries of OpenAPI for refusals, those of every request included."""
    usual = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST)
    return {int(code): {"model": Problem, "description": code.phrase} for code in (*usual, *codes)}


#: Body of an upload.
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "NIfTI, NRRD, MetaImage (.mha), TIFF, an enhanced DICOM "
                            "image (.dcm), or a zip of a DICOM series or of NPZ or GeoTIFF tiles.",
                        },
                        "config": {
                            "type": "string",
                            "description": "Config of the lung nodule inference guide, as YAML.",
                            "example": CONFIG,
                        },
                        "task": {"type": "string", "example": "nodules"},
                        "metadata": {
                            "type": "string",
                            "description": "What the file does not state itself, such as the "
                            f"spacing of a TIFF stack along z, y, x; of {', '.join(WORDS)}.",
                            "example": EXAMPLE,
                        },
                    },
                }
            }
        },
    }
}
