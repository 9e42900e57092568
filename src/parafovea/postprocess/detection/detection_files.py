"""The files of detections: JSON and CSV, written and read."""

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

#: Decimals of lengths, volumes and HU; of confidences and scores.
_LENGTHS, _SCORES = 3, 6

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Properties(_Document):
    """Measures of a detection, in millimetres and HU; those that cannot be measured are None."""

    volume_mm3: Positive
    mean_intensity: float
    std_intensity: Annotated[float, Field(ge=0)]
    sphericity: Share | None = None
    longest_axial_diameter_mm: Positive | None = None
    lung_border_distance_mm: float | None = None


class Triage(_Document):
    """A calibrated score of malignancy and what it means."""

    malignancy_score: Share
    risk_category: RiskCategory


class Detection(_Document):
    """One detection.

    Parameters
    ----------
    id : int
        From 0, in the order of the file.
    coordinates : tuple of float
        World position x, y, z in millimetres, in the DICOM patient system (LPS).
    coordinates_voxel : tuple of int
        The nearest voxel x, y, z of the scan's own array.
    diameter_mm : float
        Of the sphere of the region's volume.
    confidence : float
        Height of the heatmap's peak.
    properties : Properties
        Further measures.
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
    """Spacing in millimetres and shape of the scan, each along x, y, z."""

    spacing: tuple[Positive, Positive, Positive]
    shape: tuple[
        Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]
    ]


class Summary(_Document):
    """Counts over a scan; those of risks only where all detections have a triage.

    Parameters
    ----------
    outside_body_count : int or None
        Candidates that were removed since they lie outside of the body; None where nobody looked.
    """

    num_detections: Count
    outside_body_count: Count | None = None
    high_risk_count: Count | None = None
    intermediate_risk_count: Count | None = None
    low_risk_count: Count | None = None
    processing_time_seconds: Annotated[float, Field(ge=0)] | None = None


class Detections(_Document):
    """All detections of a scan, the most confident first."""

    scan_id: Annotated[str, Field(min_length=1)]
    model: str
    timestamp: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    metadata: ScanMetadata
    detections: tuple[Detection, ...]
    summary: Summary

    @model_validator(mode="after")
    def _consistent(self) -> Detections:
        if [d.id for d in self.detections] != list(range(len(self.detections))):
            raise ValueError("the ids of detections must be 0, 1, 2, … in their order")
        if self.summary.num_detections != len(self.detections):
            raise ValueError(
                f"summary.num_detections is {self.summary.num_detections}, and there are "
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
        All of a scan.
    triaged : bool
        Count the risks. The intermediate ones only where there are any.
    outside_body : int, optional
        Candidates that were removed for their place; left out where nobody looked.
    seconds : float, optional
        How long the scan took; left out where nobody says.
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
    """Return a length, volume or HU as it stands in the files, never minus zero."""
    return round(float(value), _LENGTHS) + 0.0


def rounded_score(value: float) -> float:
    """Return a confidence or score as it stands in the files."""
    return round(float(value), _SCORES) + 0.0


def detections_json(document: Detections) -> str:
    """Return the JSON text of detections; what is None is left out. The same text every time."""
    values = document.model_dump(mode="json", exclude_none=True)
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def detections_csv(document: Detections) -> str:
    """Return the CSV text of detections; fields of the triage are empty where there is none."""
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
        If it is missing, no JSON, or does not have the format; the message names the place.
    """
    try:
        return Detections.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing: run detect_nodules first") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StoreError(
            f"{path} is no file of detections: {place}: {first['msg']}: correct it, or delete it "
            "and run again"
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
        The columns `CSV_COLUMNS`; scan_id and risk_category are texts, the latter empty without
        triage, and malignancy_score is then NaN.

    Raises
    ------
    StoreError
        If it is missing, has other columns, or values that are no numbers.
    """
    texts = {"scan_id": str, "risk_category": str}
    try:
        table = pd.read_csv(
            path, dtype=texts, keep_default_na=False, na_values={"malignancy_score": [""]}
        )
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing: run detect_nodules first") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is no table: {error}: write it again") from error
    if tuple(table.columns) != CSV_COLUMNS:
        raise StoreError(
            f"{path} has the columns {', '.join(map(str, table.columns))}: it needs "
            f"{', '.join(CSV_COLUMNS)}"
        )
    numbers = [c for c in CSV_COLUMNS if c not in texts]
    for column in numbers:
        if len(table) and table[column].dtype.kind not in "if":
            raise StoreError(f"{path} has texts in the column {column}: it needs numbers")
    return table


def candidates_frame(document: Detections) -> pd.DataFrame:
    """Return detections as a table of candidates with LUNA16's columns.

    Parameters
    ----------
    document : Detections
        Of one scan.

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
