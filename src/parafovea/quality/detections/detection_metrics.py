"""Names of the metrics of a scan's detections; torch-free, since the config uses them."""

from __future__ import annotations

from parafovea.quality.metrics import COVERAGE, MEMORY, OVERALL, Path

#: Paths of all metrics, in table order; lengths in millimetres.
DETECTION_PATHS: tuple[Path, ...] = (
    *(("detections", part) for part in (OVERALL, "high", "intermediate", "low")),
    *COVERAGE,
    ("coverage", "skipped_windows"),
    *MEMORY,
    ("nodules",),
    ("found",),
    ("missed",),
    ("false_positives",),
    ("sensitivity", OVERALL),
    ("sensitivity", "at_1_false_positive"),
    ("precision",),
    ("centre_distance_mm",),
    ("diameter_error_mm", OVERALL),
    ("diameter_error_mm", "signed"),
)
