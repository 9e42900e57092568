"""Detections as dictionaries, as the guide has them, and the documents of this package."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from parafovea.errors import TableError
from parafovea.geometry.placed_array import PlacedArray
from parafovea.guide.arguments import AnyPath
from parafovea.postprocess.detection import detection_files
from parafovea.postprocess.detection.detection_files import Detection, Detections, summarize
from parafovea.storage.provenance import stated_time

#: A detection, with the keys of `detections.json`.
DetectionDict = dict[str, Any]

#: Entries of `detections.json` beside the detections.
FACTS = ("scan_id", "model", "timestamp", "metadata", "summary")


class DetectionList(list[DetectionDict]):
    """Detections as dictionaries, with what is known of their scan.

    The dictionaries have the keys of `detections.json`. A list that is made from it, such as by a
    list comprehension, is a plain list, which all functions here take as well.

    Parameters
    ----------
    detections : iterable of dict
        The detections.
    facts : mapping
        Entries of the document beside its detections: scan_id, model, timestamp, metadata and
        summary.
    heatmap : ndarray, optional
        (z, y, x) float32, 0 to 1, on the voxels of the scan.
    weights_sha256 : str, optional
        Hash of the model's weights.
    """

    def __init__(
        self,
        detections: Iterable[DetectionDict],
        *,
        facts: Mapping[str, Any],
        heatmap: PlacedArray | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        super().__init__(detections)
        self.facts = dict(facts)
        self.heatmap = heatmap
        self.weights_sha256 = weights_sha256


def load_detections(path: AnyPath) -> DetectionList:
    """Read a `detections.json`.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    DetectionList
        A dictionary for each detection, by descending confidence.

    Raises
    ------
    StoreError
        If it is missing or invalid.
    """
    return listed(detection_files.load_detections(Path(path)))


def listed(document: Detections) -> DetectionList:
    """Return the detections of a document as dictionaries."""
    values = document.model_dump(mode="json", exclude_none=True)
    return DetectionList(values.pop("detections"), facts=values)


def like(given: Sequence[DetectionDict], made: list[DetectionDict]) -> list[DetectionDict]:
    """Return detections that were made from others, with what is known of those."""
    if not isinstance(given, DetectionList):
        return made
    return DetectionList(
        made, facts=given.facts, heatmap=given.heatmap, weights_sha256=given.weights_sha256
    )


def loaded(detections: Sequence[DetectionDict] | AnyPath) -> Sequence[DetectionDict]:
    """Return detections, read from their file if they are one."""
    if isinstance(detections, str | Path):
        return load_detections(detections)
    return detections


def document_of(detections: Sequence[DetectionDict], name: str, metadata: Any) -> Detections:
    """Return detections as a document, numbered in their order and counted anew."""
    facts = detections.facts if isinstance(detections, DetectionList) else {}
    found = []
    for number, each in enumerate(detections):
        try:
            found.append(Detection.model_validate({**each, "id": number}))
        except (ValidationError, TypeError) as error:
            raise TableError(f"detection {number}: {_problem(error)}") from error
    before = facts.get("summary", {})
    triaged = bool(found) and all(each.triage is not None for each in found)
    summary = summarize(
        found,
        triaged=triaged,
        outside_body=before.get("outside_body_count"),
        seconds=before.get("processing_time_seconds"),
    )
    values = {
        "scan_id": facts.get("scan_id", name),
        "model": facts.get("model", "unknown"),
        "timestamp": facts.get("timestamp") or stated_time(),
        "metadata": facts.get("metadata", metadata),
        "detections": found,
        "summary": summary,
    }
    try:
        return Detections.model_validate(values)
    except ValidationError as error:
        raise TableError(f"the detections: {_problem(error)}") from error


def _problem(error: Exception) -> str:
    """Return the first problem of a detection, with what to do if measurements are missing."""
    if not isinstance(error, ValidationError):
        return "must be a dictionary with the keys of detections.json"
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].replace("Input should", "must").replace("Field required", "is missing")
    fix = ""
    if where.startswith("properties"):
        fix = ": add detection['properties'] = extract_properties(...)"
    return f"{where} {reason}{fix}"


def sphere_of(detection: DetectionDict, number: int) -> tuple[float, float, float, float, float]:
    """Return x, y, z, diameter and confidence of a detection."""
    place = np.asarray(detection.get("coordinates", ()), float)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise TableError(
            f"detection {number}: coordinates {detection.get('coordinates')!r} must be x, y, z in "
            "millimetres"
        )
    width = number_of(detection, "diameter_mm", number)
    if width <= 0:
        raise TableError(f"detection {number}: diameter_mm {width:g} must be positive")
    x, y, z = place.tolist()
    return x, y, z, width, number_of(detection, "confidence", number)


def number_of(detection: DetectionDict, key: str, number: int) -> float:
    """Return a finite number of a detection, or raise `TableError` with its position."""
    try:
        value = float(detection[key])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise TableError(f"detection {number}: {key} {detection.get(key)!r} must be a number")
    return value
