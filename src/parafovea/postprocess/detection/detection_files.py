"""Reading and writing of detections as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from parafovea.errors import StoreError

RiskCategory = Literal["low", "intermediate", "high"]

CSV_COLUMNS = (
    "scan_id",
    "detection_id",
    "coord_x",
    "coord_y",
    "coord_z",
    "diameter_mm",
    "confidence",
    "malignancy_score",
    "risk_category",
)

#: Decimal places of lengths, volumes and HU; of confidences and scores.
_LENGTHS, _SCORES = 3, 6

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Properties(_Document):
    """Measurements of a detection, in millimetres and HU; None if not measurable."""

    volume_mm3: Positive
    mean_intensity: float
    std_intensity: Annotated[float, Field(ge=0)]
    sphericity: Share | None = None
    longest_axial_diameter_mm: Positive | None = None
    lung_border_distance_mm: float | None = None


class Triage(_Document):
    """Calibrated malignancy score and risk category."""

    malignancy_score: Share
    risk_category: RiskCategory


class Detection(_Document):
    """One detection.

    Parameters
    ----------
    id : int
        Index from 0, in the order of the file.
    coordinates : tuple of float
        World position x, y, z in millimetres, in the DICOM patient coordinate system (LPS).
    coordinates_voxel : tuple of int
        The nearest voxel x, y, z of the scan's own array.
    diameter_mm : float
        Diameter of a sphere with the nodule's volume.
    confidence : float
        Height of the heatmap's peak.
    properties : Properties
        Further measurements.
    triage : Triage or None
        None without a calibration.
    """

    id: Count
    coordinates: tuple[float, float, float]
    coordinates_voxel: tuple[Count, Count, Count]
    diameter_mm: Positive
    confidence: Share
    properties: Properties
    triage: Triage | None = None


class ScanMetadata(_Document):
    """Spacing in millimetres and shape of the scan along x, y, z."""

    spacing: tuple[Positive, Positive, Positive]
    shape: tuple[
        Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]
    ]


class Summary(_Document):
    """Counts of a scan; risk counts only if all detections have a triage.

    Parameters
    ----------
    outside_body_count : int or None
        Number of candidates that were removed outside of the body; None without this filter.
    """

    num_detections: Count
    outside_body_count: Count | None = None
    high_risk_count: Count | None = None
    intermediate_risk_count: Count | None = None
    low_risk_count: Count | None = None
    processing_time_seconds: Annotated[float, Field(ge=0)] | None = None


class Detections(_Document):
    """All detections of a scan, by descending confidence."""

    scan_id: Annotated[str, Field(min_length=1)]
    model: str
    timestamp: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    metadata: ScanMetadata
    detections: tuple[Detection, ...]
    summary: Summary

    @model_validator(mode="after")
    def _consistent(self) -> Detections:
        if [d.id for d in self.detections] != list(range(len(self.detections))):
            raise ValueError("the ids of detections must be 0, 1, 2, … in order")
        if self.summary.num_detections != len(self.detections):
            raise ValueError(
                f"summary.num_detections is {self.summary.num_detections}, but there are "
                f"{len(self.detections)} detections"
            )
        return self


def summarize(
    detections: Sequence[Detection],
    *,
    triaged: bool,
    outside_body: int | None = None,
    seconds: float | None = None,
) -> Summary:
    """Return the summary of detections.

    Parameters
    ----------
    detections : sequence of Detection
        All detections of a scan.
    triaged : bool
        Count risk categories; the intermediate one only if it occurs.
    outside_body : int, optional
        Number of candidates that were removed outside of the body, if the filter was on.
    seconds : float, optional
        Processing time of the scan, if known.
    """
    risks = [d.triage.risk_category for d in detections if d.triage is not None]
    return Summary(
        num_detections=len(detections),
        outside_body_count=outside_body,
        high_risk_count=risks.count("high") if triaged else None,
        intermediate_risk_count=risks.count("intermediate") or None,
        low_risk_count=risks.count("low") if triaged else None,
        processing_time_seconds=None if seconds is None else round(seconds, 1),
    )


def rounded_length(value: float) -> float:
    """Round a length, volume or HU as in the files, never to minus zero."""
    return round(float(value), _LENGTHS) + 0.0


def rounded_score(value: float) -> float:
    """Round a confidence or score as in the files."""
    return round(float(value), _SCORES) + 0.0


def detections_json(document: Detections) -> str:
    """Return the JSON text of detections without None values; deterministic."""
    values = document.model_dump(mode="json", exclude_none=True)
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def detections_csv(document: Detections) -> str:
    """Return the CSV text of detections; triage columns are empty without triage."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for each in document.detections:
        triage = each.triage
        score = ("", "") if triage is None else (triage.malignancy_score, triage.risk_category)
        writer.writerow(
            (
                document.scan_id,
                each.id,
                *each.coordinates,
                each.diameter_mm,
                each.confidence,
                *score,
            )
        )
    return text.getvalue()


def load_detections(path: Path) -> Detections:
    """Read a detections JSON file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    StoreError
        If it is missing, is not JSON, or is invalid; the message names the key.
    """
    try:
        return Detections.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing: run detect_nodules first") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StoreError(
            f"{path} is not a valid detections file: {place}: {first['msg']}: correct it, or "
            "delete it and run again"
        ) from error


def load_detections_table(path: Path) -> pd.DataFrame:
    """Read a detections CSV file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    DataFrame
        The columns `CSV_COLUMNS`; scan_id and risk_category are strings. Without triage,
        risk_category is empty and malignancy_score NaN.

    Raises
    ------
    StoreError
        If it is missing, has other columns, or has non-numeric values.
    """
    texts = {"scan_id": str, "risk_category": str}
    try:
        table = pd.read_csv(
            path, dtype=texts, keep_default_na=False, na_values={"malignancy_score": [""]}
        )
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing: run detect_nodules first") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is not a table ({error}): run detect_nodules again") from error
    if tuple(table.columns) != CSV_COLUMNS:
        raise StoreError(
            f"{path} has the columns {', '.join(map(str, table.columns))}, not "
            f"{', '.join(CSV_COLUMNS)}: run detect_nodules again"
        )
    numbers = [c for c in CSV_COLUMNS if c not in texts]
    for column in numbers:
        if len(table) and table[column].dtype.kind not in "if":
            raise StoreError(
                f"{path} has non-numeric values in column {column}: run detect_nodules again"
            )
    return table


def candidates_frame(document: Detections) -> pd.DataFrame:
    """Return detections as a table of candidates with LUNA16's columns.

    Parameters
    ----------
    document : Detections
        Detections of one scan.

    Returns
    -------
    DataFrame
        seriesuid, coordX, coordY, coordZ (mm, LPS), diameter_mm, probability.
    """
    found = document.detections
    return pd.DataFrame(
        {
            "seriesuid": pd.Series([document.scan_id] * len(found), dtype=str),
            **{
                f"coord{name}": [d.coordinates[axis] for d in found]
                for axis, name in enumerate("XYZ")
            },
            "diameter_mm": [d.diameter_mm for d in found],
            "probability": [d.confidence for d in found],
        }
    ).astype({f"coord{n}": float for n in "XYZ"} | {"diameter_mm": float, "probability": float})
