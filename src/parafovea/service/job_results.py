"""Results of a job as a client gets them: one document, files from a fixed list, folders as zip."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parafovea.formats.location import stem
from parafovea.service.job_queue import Job
from parafovea.service.spool import Spool
from parafovea.storage import layout

#: Files that a client may get, with their media types.
FILES: Mapping[str, str] = {
    layout.DETECTIONS: "application/json",
    layout.DETECTION_TABLE: "text/csv; charset=utf-8",
    layout.HEATMAP: "application/gzip",
    layout.SEGMENTATION_OBJECT: "application/dicom",
    layout.MEASUREMENT_REPORT: "application/dicom",
    layout.OBJECT_TABLE: "text/tab-separated-values; charset=utf-8",
    layout.QUALITY: "application/json",
    layout.QUALITY_TABLE: "text/tab-separated-values; charset=utf-8",
    layout.TILE_QUALITY: "text/tab-separated-values; charset=utf-8",
    layout.LEDGER: "text/tab-separated-values; charset=utf-8",
    layout.QUARANTINE: "text/tab-separated-values; charset=utf-8",
    layout.REFINED: "image/tiff",
    layout.PAGE: "text/html; charset=utf-8",
    layout.DOCUMENT: "application/pdf",
    layout.SCENE: "text/html; charset=utf-8",
    layout.VISUALIZATION: "image/png",
    layout.CONFIDENCES: "image/png",
    layout.THUMBNAIL: "image/jpeg",
    "summary.json": "application/json",
}

#: Folders that a client may get, each as a zip file of this name and `.zip`.
FOLDERS = (
    layout.TILES,
    layout.FIGURES,
    layout.CLASSES,
    layout.OBJECTS,
    layout.PREDICTION,
)

ZIP = "application/zip"

_PIECE = 2**20


class JobResults:
    """Results of a finished job.

    Parameters
    ----------
    spool : Spool
        Where they are.
    job : Job
        A completed job.
    """

    def __init__(self, spool: Spool, job: Job) -> None:
        self._job = job
        self.folder = spool.attempt(job.id, job.attempt) / stem(job.source)
        self.viewer = spool.viewer(job.id, job.attempt)

    def file(self, name: str) -> Path | None:
        """Return the path of a result, None if there is none or it is not on the list."""
        place = self.folder / name
        return place if name in FILES and place.is_file() and not place.is_symlink() else None

    def zipped_folder(self, name: str) -> Path | None:
        """Return the folder that a name with `.zip` stands for, None if there is none."""
        plain = name.removesuffix(".zip")
        place = self.folder / plain
        return place if name != plain and plain in FOLDERS and place.is_dir() else None

    def listed(self) -> list[dict[str, Any]]:
        """Return the name, media type and bytes of each result; of a zip file no bytes."""
        files = [
            {"name": name, "media_type": kind, "bytes": place.stat().st_size}
            for name, kind in FILES.items()
            if (place := self.file(name)) is not None
        ]
        folders = [
            {"name": f"{name}.zip", "media_type": ZIP, "bytes": None}
            for name in FOLDERS
            if self.zipped_folder(f"{name}.zip") is not None
        ]
        return files + folders

    def document(self) -> dict[str, Any]:
        """Return the detections, or the summary, of a job, and the list of its files."""
        found: dict[str, Any] = {}
        for name in ("summary.json", layout.DETECTIONS):
            place = self.file(name)
            if place is not None:
                content = json.loads(place.read_text(encoding="utf-8"))
                found |= content if name == layout.DETECTIONS else {"summary": content}
        return {
            "job_id": self._job.id,
            "status": self._job.state,
            "task": self._job.task,
            "found": self._job.found,
            "notes": list(self._job.notes),
            **found,
            "files": self.listed(),
        }

    def detections(self) -> list[Any]:
        """Return the detections; none if the task finds none."""
        found = self.document().get("detections", [])
        return list(found)


class _Pieces(io.RawIOBase):
    """Collects what is written, for an iterator to pass on."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.waiting += data
        return len(data)

    def taken(self) -> bytes:
        found = bytes(self.waiting)
        self.waiting.clear()
        return found


def zip_stream(folder: Path) -> Iterator[bytes]:
    """Yield the bytes of a zip file of a folder; no more than a piece of it is in memory.

    Links are left out.

    Parameters
    ----------
    folder : Path
        An existing folder; its files are not compressed again.
    """
    with _Pieces() as pieces:
        with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
            for place in sorted(folder.rglob("*")):
                if place.is_symlink() or not place.is_file():
                    continue
                info = zipfile.ZipInfo(str(place.relative_to(folder)), (1980, 1, 1, 0, 0, 0))
                with place.open("rb") as source, archive.open(info, "w", force_zip64=True) as to:
                    while data := source.read(_PIECE):
                        to.write(data)
                        yield pieces.taken()
        yield pieces.taken()
