"""Names of the metrics of a scan's detections, by rule; torch-free, as the config uses them."""

from __future__ import annotations

from parafovea.quality.metrics import COVERAGE, MEMORY, OVERALL, Path

_COUNTED: tuple[Path, ...] = (
    *(("detections", part) for part in (OVERALL, "high", "intermediate", "low")),
    *COVERAGE,
    ("coverage", "skipped_windows"),
    *MEMORY,
)

#: Paths of all metrics by the rules of LUNA16, in table order; lengths in millimetres.
DETECTION_PATHS: tuple[Path, ...] = (
    *_COUNTED,
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

#: The same by the rules of PI-CAI, with the names of its package for AP, auroc and score. Those two
#: need several scans and are undefined for one; the report of all samples has them.
LESION_PATHS: tuple[Path, ...] = (
    *_COUNTED,
    ("lesions",),
    ("found",),
    ("missed",),
    ("false_positives",),
    ("sensitivity", OVERALL),
    ("precision",),
    ("overlap",),
    ("AP",),
    ("auroc",),
    ("score",),
)

#: Paths of all metrics by rule.
PATHS_BY_RULE = {"luna16": DETECTION_PATHS, "picai": LESION_PATHS}
