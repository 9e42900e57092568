"""Content of the report of a scan's detections, gathered from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea.postprocess.detection.detection_files import Detection, Detections, load_detections
from parafovea.report.canvas import Drawing
from parafovea.report.provenance_rows import degraded_reasons, provenance_rows
from parafovea.report.sample_results import read_metrics, read_quality, verdict
from parafovea.report.segmentation.sample_view import (
    LISTED,
    SampleView,
    model_facts,
    table_addresses,
)
from parafovea.report.units import counted, grid_facts
from parafovea.storage.layout import SampleResults
from parafovea.storage.provenance import NO_TIME
from parafovea.storage.store import open_stored

#: Label of a detection that hits no nodule.
_WRONG = "false positive"

RISKS = ("high", "intermediate", "low")


@dataclass(frozen=True, slots=True)
class DetectionRow:
    """A detection as a row of the report: texts without units, which are in the heading.

    Parameters
    ----------
    id : int
        Id in the files.
    risk : str or None
        Risk category; None without a calibration.
    truth : str or None
        Matched nodule; None without truth.
    apart : str
        Distance of its centre to that of the nodule.
    wrong : bool
        Whether it is a false positive.
    """

    id: int
    position: str
    diameter: str
    confidence: str
    volume: str
    density: str
    sphericity: str
    axial: str
    border: str
    risk: str | None
    score: str
    truth: str | None
    apart: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class MissedNodule:
    """A nodule without a detection."""

    id: int
    position: str
    diameter: str


@dataclass(frozen=True)
class DetectionView(SampleView):
    """Content of the report of a scan's detections.

    Parameters
    ----------
    detections : tuple of DetectionRow
        The most confident detections.
    missed : tuple of MissedNodule
        Missed nodules of the truth.
    """

    detections: tuple[DetectionRow, ...] = ()
    missed: tuple[MissedNodule, ...] = ()

    @property
    def counted(self) -> str:
        """Name of what `object_count` counts."""
        return "Detections"

    @property
    def triaged(self) -> bool:
        """Whether there are risk categories."""
        return any(row.risk is not None for row in self.detections)

    @property
    def judged(self) -> bool:
        """Whether there is truth."""
        return any(row.truth is not None for row in self.detections)


def cohort_view(results: SampleResults, *, sample: str, task: str) -> DetectionView:
    """Gather the content of the cohort report for a scan.

    Parameters
    ----------
    results : SampleResults
        Its results.
    sample, task
        See `view_sample`.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    return view_detections(
        results.prediction,
        results.detections,
        results.quality,
        results.quality_table,
        (),
        sample=sample,
        task=task,
        links={
            words: path.name
            for words, path in (("PDF", results.document), ("3D", results.scene))
            if path.exists()
        },
    )


def view_detections(
    prediction: Path,
    detections: Path,
    quality: Path,
    metrics: Path,
    drawings: Sequence[Drawing],
    *,
    sample: str,
    task: str = "",
    title: str | None = None,
    links: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    page: Path | None = None,
) -> DetectionView:
    """Gather the content of a scan's report without reading voxels.

    Parameters
    ----------
    prediction : Path
        Store with the heatmap.
    detections : Path
        JSON file of `detect_nodules`.
    quality, metrics : Path
        JSON and table of `measure_detections`.
    drawings : sequence of Drawing
        Figures to embed.
    sample, task, title
        See `view_sample`.
    links : mapping of str to str, optional
        Files beside the page by display name.
    settings : mapping, optional
        Settings of the detection, for the provenance.
    page : Path, optional
        The page, from which tables are linked.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    stored, document = open_stored(prediction), load_detections(detections)
    measured = read_quality(quality)
    made = measured.get("provenance", {})
    records: dict[str, Mapping[str, Any]] = {
        "Prediction": stored.attributes,
        "Detections": settings or {},
        "Quality": made if isinstance(made, Mapping) else {"provenance": made},
    }
    lines = read_metrics(metrics)
    return DetectionView(
        sample=sample,
        task=task,
        title=title or sample,
        degraded=degraded_reasons(records),
        facts=_facts(document, stored.attributes) | _heatmap_facts(stored.grid),
        verdict=verdict(lines),
        metrics=lines,
        classes=(),
        objects=(),
        object_count=len(document.detections),
        provenance={name: provenance_rows(record) for name, record in records.items() if record},
        drawings=tuple(drawings),
        detections=tuple(_row(each, measured) for each in document.detections[:LISTED]),
        missed=_missed(measured),
        summary=summary_of(document, measured),
        links=dict(links or {}),
        tables=table_addresses(page, detections.with_suffix(".csv"), metrics),
    )


def summary_of(document: Detections, quality: Mapping[str, Any]) -> str:
    """Return the summary, such as "5 detections, 2 high, 3 low risk; 3 of 4 nodules found"."""
    count = len(document.detections)
    words = counted(count, "detection") if count else "No detections"
    risks = [d.triage.risk_category for d in document.detections if d.triage is not None]
    if risks:
        named = [f"{risks.count(r)} {r}" for r in RISKS if r in risks]
        words += f", {', '.join(named)} risk"
    if "nodules" in quality:
        nodules = quality["nodules"]
        found = sum(bool(each.get("found")) for each in nodules)
        wrong = len(quality.get("false_positives", ()))
        words += (
            f"; {found} of {counted(len(nodules), 'nodule')} found"
            if nodules
            else "; the truth has no nodules"
        )
        words += f", {counted(wrong, 'false positive')}"
    outside = document.summary.outside_body_count
    if outside:
        words += f"; {outside} outside the body removed"
    return words


def time_text(timestamp: str) -> str:
    """Return a time for display; "" if the result states none."""
    if timestamp == NO_TIME:
        return ""
    return timestamp.replace("T", " ").replace("Z", " UTC")


def _facts(document: Detections, record: Mapping[str, Any]) -> dict[str, str]:
    scan = document.metadata
    time = time_text(document.timestamp)
    return {
        "Scan (x, y, z)": " × ".join(str(n) for n in scan.shape) + " voxels",
        "Spacing (x, y, z)": " × ".join(f"{s:g}" for s in scan.spacing) + " mm",
        "Model": document.model,
        **model_facts(record),
        **({"Time": time} if time else {}),
    }


def _heatmap_facts(grid: Any) -> dict[str, str]:
    return {f"Heatmap {name.lower()}": text for name, text in grid_facts(grid).items()}


def _row(each: Detection, quality: Mapping[str, Any]) -> DetectionRow:
    own, triage = each.properties, each.triage
    hits = [hit for hit in quality.get("hits", ()) if hit["detection"] == each.id]
    truth = None
    if hits:
        truth = ", ".join(f"nodule {hit['nodule']}" for hit in hits)
    elif each.id in quality.get("false_positives", ()):
        truth = _WRONG
    elif "nodules" in quality:
        truth = "on a nodule, repeated"
    return DetectionRow(
        id=each.id,
        position=_place(each.coordinates),
        diameter=f"{each.diameter_mm:.1f}",
        confidence=f"{each.confidence:.3f}",
        volume=f"{own.volume_mm3:,.0f}",
        density=f"{own.mean_intensity:z.0f} ± {own.std_intensity:.0f}",
        sphericity=_text(own.sphericity, 2),
        axial=_text(own.longest_axial_diameter_mm, 1),
        border=_text(own.lung_border_distance_mm, 1),
        risk=None if triage is None else triage.risk_category,
        score="" if triage is None else f"{triage.malignancy_score:.2f}",
        truth=truth,
        apart=", ".join(f"{hit['distance_mm']:.1f}" for hit in hits),
        wrong=truth == _WRONG,
    )


def _missed(quality: Mapping[str, Any]) -> tuple[MissedNodule, ...]:
    return tuple(
        MissedNodule(each["id"], _place(tuple(each["coordinates"])), f"{each['diameter_mm']:.1f}")
        for each in quality.get("nodules", ())
        if not each["found"]
    )


def _place(position: Sequence[float]) -> str:
    return ", ".join(f"{v:z.1f}" for v in position)


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:z.{digits}f}"
