"""PDF report of a scan's detections: table, slices, confidences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from parafovea.postprocess.detection.detection_files import Detection, Detections
from parafovea.report.canvas import new_figure, short
from parafovea.report.detections.confidence_plot import confidences_figure
from parafovea.report.detections.scan_view import time_text
from parafovea.report.detections.slices import DetectedScan, detections_figure
from parafovea.report.palette import INK, MUTED, RULE

#: Size of a landscape A4 page, margin and row height of the table, in inches.
_WIDTH, _HEIGHT, _MARGIN, _LINE = 11.69, 8.27, 0.7, 0.24

#: Rows of the table on the first page and on further pages.
_FIRST, _NEXT = 20, 26

#: Columns of the table: heading and position in inches from the left, right-aligned.
_COLUMNS = (
    ("id", 0.25, True),
    ("x, y, z (mm)", 1.95, True),
    ("diameter (mm)", 2.95, True),
    ("confidence", 3.8, True),
    ("volume (mm³)", 4.75, True),
    ("mean ± s.d. (HU)", 6.0, True),
    ("sphericity", 6.75, True),
    ("axial (mm)", 7.5, True),
    ("to lung surface (mm)", 8.9, True),
    ("risk", 9.1, False),
)


def write_detection_pdf(
    view: DetectedScan,
    path: Path,
    *,
    num_slices: int = 5,
    colormap: str = "hot",
    overlay_alpha: float = 0.5,
    min_confidence: float | None = None,
) -> None:
    """Write the report of a scan; equal input gives equal bytes.

    Parameters
    ----------
    view : DetectedScan
        Data to show.
    path : Path
        PDF file to write.
    num_slices, colormap, overlay_alpha
        See `draw_detections`.
    min_confidence : float, optional
        Threshold of the detections.

    Notes
    -----
    Draw within `canvas.styled`.
    """
    document = view.detections
    slices = detections_figure(
        view, num_slices=num_slices, colormap=colormap, overlay_alpha=overlay_alpha
    )
    words = {"Title": f"Detections of {document.scan_id}", "CreationDate": None, "Creator": None}
    with PdfPages(path, metadata=words) as pages:
        for figure in (
            *table_pages(document),
            slices,
            confidences_figure(document, min_confidence=min_confidence),
        ):
            pages.savefig(figure)


def table_pages(document: Detections) -> list[Figure]:
    """Return the pages with the scan's facts and the table of its detections."""
    found = document.detections
    parts = [found[:_FIRST], *(found[i : i + _NEXT] for i in range(_FIRST, len(found), _NEXT))]
    pages = []
    for number, part in enumerate(parts):
        figure = new_figure(_WIDTH, _HEIGHT)
        top = _HEIGHT - _MARGIN
        if number == 0:
            top = _facts(figure, document, top)
        _table(figure, part, top)
        words = f"{short(document.scan_id, 60)} · page {number + 1} of the table"
        _write(figure, 0, _MARGIN / 2, words, color=MUTED, size=8)
        pages.append(figure)
    return pages


def _write(figure: Figure, left: float, height: float, text: str, **style: Any) -> None:
    options: dict[str, Any] = {"size": 9, "color": INK, **style}
    figure.text((_MARGIN + left) / _WIDTH, height / _HEIGHT, text, **options)


def _facts(figure: Figure, document: Detections, top: float) -> float:
    """Write the heading and return the start of the table."""
    _write(
        figure,
        0,
        top - 0.15,
        f"Detections of {short(document.scan_id, 60)}",
        size=16,
        weight="bold",
    )
    scan, summary = document.metadata, document.summary
    facts = [
        ("model", short(document.model, 40)),
        ("voxels x, y, z", " × ".join(str(n) for n in scan.shape)),
        ("spacing x, y, z", " × ".join(f"{s:g}" for s in scan.spacing) + " mm"),
        ("detections", str(summary.num_detections)),
    ]
    risks = (summary.high_risk_count, summary.intermediate_risk_count, summary.low_risk_count)
    names = ("high", "intermediate", "low")
    counted = [f"{n} {name}" for n, name in zip(risks, names, strict=True) if n is not None]
    facts.append(("risk", ", ".join(counted) or "no calibration"))
    if time := time_text(document.timestamp):
        facts.append(("time", time))
    for row, (name, text) in enumerate(facts):
        left, height = (row % 3) * 3.4, top - 0.6 - (row // 3) * 0.42
        _write(figure, left, height, name, color=MUTED, size=8)
        _write(figure, left, height - 0.17, text, size=10, weight="bold")
    return top - 1.6


def _table(figure: Figure, detections: Sequence[Detection], top: float) -> None:
    for name, left, right in _COLUMNS:
        align = "right" if right else "left"
        _write(figure, left, top, name, color=MUTED, size=8, ha=align)
    _rule(figure, top - 0.08)
    if not detections:
        _write(figure, 0, top - _LINE - 0.06, "no detections", color=MUTED)
    for row, detection in enumerate(detections, start=1):
        height = top - row * _LINE - 0.03
        for (_, left, right), text in zip(_COLUMNS, _cells(detection), strict=True):
            _write(figure, left, height, text, size=8.5, ha="right" if right else "left")
    _rule(figure, top - len(detections) * _LINE - 0.12)


def _rule(figure: Figure, height: float) -> None:
    line = figure.add_axes((_MARGIN / _WIDTH, height / _HEIGHT, 1 - 2 * _MARGIN / _WIDTH, 0.0005))
    line.set_facecolor(RULE)
    line.set_xticks([])
    line.set_yticks([])
    for side in line.spines.values():
        side.set_color(RULE)
        side.set_linewidth(0.6)


def _cells(detection: Detection) -> tuple[str, ...]:
    own, triage = detection.properties, detection.triage

    def text(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:z.{digits}f}"

    return (
        str(detection.id),
        ", ".join(f"{v:z.1f}" for v in detection.coordinates),
        f"{detection.diameter_mm:.1f}",
        f"{detection.confidence:.3f}",
        f"{own.volume_mm3:.0f}",
        f"{own.mean_intensity:z.0f} ± {own.std_intensity:.0f}",
        text(own.sphericity, 2),
        text(own.longest_axial_diameter_mm, 1),
        text(own.lung_border_distance_mm, 1),
        "" if triage is None else f"{triage.risk_category} ({triage.malignancy_score:.2f})",
    )
