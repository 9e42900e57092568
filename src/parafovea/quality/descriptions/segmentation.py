"""Metrics of segmented volumes."""

from __future__ import annotations

from collections.abc import Mapping

from parafovea.quality.descriptions.description import Description, count, share

_SEAMS = "Steps of the probabilities at the faces of windows over those elsewhere{}; 1 if seamless."

SEGMENTATION: Mapping[str, Description] = {
    "seam_energy": Description(
        "Seam energy", "", _SEAMS.format(", the largest of z, y and x"), 0.0, None, "lower"
    ),
    **{
        f"seam_energy.{axis}": Description(
            f"Seam energy along {axis}", "", _SEAMS.format(f" along {axis}"), 0.0, None, "lower"
        )
        for axis in "zyx"
    },
    "entropy": share(
        "Mean entropy",
        "Mean uncertainty of the voxels: 0 if one class is certain, 1 if all are equally likely.",
        "lower",
    ),
    "iou": share(
        "Mean IoU", "Mean of the intersection over union of all classes except the background."
    ),
    "iou.{}": share(
        "IoU of {}",
        "Intersection over union: voxels that are {} in prediction and truth, over those that are "
        "in either.",
    ),
    "dice": share("Mean Dice", "Mean of the Dice coefficient of all classes but the background."),
    "dice.{}": share(
        "Dice of {}",
        "Twice the voxels that are {} in prediction and truth, over the sum of both.",
    ),
    "precision.{}": share(
        "Precision of {}", "Share of the voxels predicted as {} that are {} in the truth."
    ),
    "recall": share("Mean recall", "Mean of the recall of all classes except the background."),
    "recall.{}": share(
        "Recall of {}", "Share of the voxels that are {} in the truth that are predicted as {}."
    ),
    "voi.split": Description(
        "VOI, splits",
        "bits",
        "Variation of information by which true objects are split into several predicted ones.",
        0.0,
        None,
        "lower",
    ),
    "voi.merge": Description(
        "VOI, merges",
        "bits",
        "Variation of information by which several true objects are merged to a predicted one.",
        0.0,
        None,
        "lower",
    ),
    "arand.error": share(
        "Adapted Rand error",
        "1 minus the F-score over pairs of voxels in the same object, as in SNEMI3D and CREMI.",
        "lower",
    ),
    "arand.precision": share(
        "Adapted Rand precision",
        "Share of the voxel pairs within a predicted object that are within a true one.",
    ),
    "arand.recall": share(
        "Adapted Rand recall",
        "Share of the voxel pairs within a true object that are within a predicted one.",
    ),
    "panoptic.{}.tp": count(
        "Matched objects, {}",
        "objects",
        "Pairs of a predicted and a true object with an IoU above 0.5.",
        "higher",
    ),
    "panoptic.{}.fp": count(
        "Extra objects, {}", "objects", "Predicted objects without a true one.", "lower"
    ),
    "panoptic.{}.fn": count(
        "Missed objects, {}", "objects", "True objects without a predicted one.", "lower"
    ),
    "panoptic.{}.rq": share("Recognition quality, {}", "F1 score of the matches of objects."),
    "panoptic.{}.sq": share("Segmentation quality, {}", "Mean IoU of the matched objects."),
    "panoptic.{}.pq": share(
        "Panoptic quality, {}", "Recognition quality times segmentation quality."
    ),
}
