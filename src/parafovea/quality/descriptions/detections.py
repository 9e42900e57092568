"""Metrics of detections."""

from __future__ import annotations

from collections.abc import Mapping

from parafovea.quality.descriptions.description import Description, count, share

DETECTIONS: Mapping[str, Description] = {
    "detections": count("Detections", "detections", "Detections in the scan."),
    **{
        f"detections.{risk}": count(
            f"Detections of {risk} risk",
            "detections",
            f"Detections of {risk} risk by the task's calibration.",
        )
        for risk in ("high", "intermediate", "low")
    },
    "nodules": count("True nodules", "nodules", "Nodules in the truth of the scan."),
    "found": count(
        "Nodules found",
        "nodules",
        "True nodules with a detection closer to their centre than their radius.",
        "higher",
    ),
    "missed": count("Nodules missed", "nodules", "True nodules without a detection.", "lower"),
    "false_positives": count(
        "False positives", "detections", "Detections that hit no nodule.", "lower"
    ),
    "sensitivity": share("Sensitivity", "Share of the true nodules that are found."),
    "sensitivity.at_1_false_positive": share(
        "Sensitivity at 1 false positive",
        "Share of the true nodules found at the confidence that allows one false positive a scan.",
    ),
    "precision": share(
        "Precision",
        "Share of what was predicted that is right: of the detections; of the voxels of a class, "
        "mean over all classes except the background.",
    ),
    "centre_distance_mm": Description(
        "Distance between centres",
        "mm",
        "Mean distance from the centre of a found nodule to that of its detection, not between "
        "surfaces.",
        0.0,
        None,
        "lower",
    ),
    "diameter_error_mm": Description(
        "Diameter error",
        "mm",
        "Mean absolute difference of the diameters of found nodules and their detections.",
        0.0,
        None,
        "lower",
    ),
    "diameter_error_mm.signed": Description(
        "Diameter error, signed",
        "mm",
        "Mean of the detection's diameter minus that of its nodule; positive if too large.",
    ),
    "cpm": share(
        "CPM",
        "Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan, as in LUNA16.",
    ),
}
