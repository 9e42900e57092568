"""Overlap metrics of predicted and true classes, from their confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from parafovea.quality.metrics import OVERALL, Path, Value
from parafovea.quality.segmentation.segmentation_metrics import OVERLAP

Array = np.ndarray[Any, Any]


def confusion_matrix(truth: Array, found: Array, classes: int) -> Array:
    """Return the confusion matrix of true and predicted classes.

    Parameters
    ----------
    truth, found : ndarray of integers in 0..classes-1
        Arrays of equal shape.
    classes : int
        Number of classes.

    Returns
    -------
    (classes, classes) int64
        Rows are true, columns predicted classes; matrices of parts of a volume can be added.
    """
    pairs = truth.reshape(-1).astype(np.intp) * classes + found.reshape(-1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def overlap_metrics(confusion: Array, classes: Sequence[str]) -> dict[Path, Value]:
    """Return IoU, Dice, precision and recall of each class, and their means.

    Parameters
    ----------
    confusion : (class, class) int64
        Rows are true, columns predicted classes.
    classes : sequence of str
        Class names, the background first.

    Returns
    -------
    dict
        Values by path. A metric is None if its denominator is 0: IoU and Dice of a class in neither
        volume, precision of a class that is not predicted, recall of a class not in the truth.
        `overall` is the mean over the classes without the background and undefined ones.
    """
    values: dict[Path, Value] = {}
    for index, name in enumerate(classes):
        hit = int(confusion[index, index])
        true, found = int(confusion[index].sum()), int(confusion[:, index].sum())
        values["iou", name] = _ratio(hit, true + found - hit)
        values["dice", name] = _ratio(2 * hit, true + found)
        values["precision", name] = _ratio(hit, found)
        values["recall", name] = _ratio(hit, true)
    for metric in OVERLAP:
        defined = [v for name in classes[1:] if (v := values[metric, name]) is not None]
        values[metric, OVERALL] = math.fsum(defined) / len(defined) if defined else None
    return values


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
