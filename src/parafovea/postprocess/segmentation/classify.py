"""Conversion of probabilities to one class per voxel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parafovea.errors import VoxelError
from parafovea.geometry.grid import Box
from parafovea.settings.postprocess import ClassSettings, Method
from parafovea.storage.blocks import PREDICTION_SHARD
from parafovea.storage.store import Stored

Array = np.ndarray[Any, Any]


def classify(probabilities: Array, *, method: Method, thresholds: Sequence[float]) -> Array:
    """Return the class of every voxel.

    Parameters
    ----------
    probabilities : (class, z, y, x) float16 or float32, in [0, 1]
        Class 0 is the background.
    method : {"argmax", "threshold"}
        `argmax` takes the most probable class. `threshold` takes the most probable of the classes
        whose probability reaches their threshold, or the background if there is none. Ties go to
        the first class.
    thresholds : sequence of float
        Minimum probability of every class except the background, for `threshold`.

    Returns
    -------
    (z, y, x) uint8
        Class indices.

    Raises
    ------
    VoxelError
        If a probability is NaN.
    """
    values = np.asarray(probabilities, dtype=np.float32)
    if np.isnan(values).any():
        raise VoxelError("the prediction contains NaN probabilities: run the inference again")
    if method == "argmax":
        return np.asarray(values.argmax(axis=0), dtype=np.uint8)
    # float16 does not represent most thresholds exactly: compare in the stored precision, so that
    # a stored 0.7 reaches a threshold of 0.7.
    least = np.asarray(thresholds, dtype=probabilities.dtype).astype(np.float32)
    candidates = values[1:].copy()
    candidates[candidates < least[:, None, None, None]] = -1.0
    classes = candidates.argmax(axis=0).astype(np.uint8) + np.uint8(1)
    classes[candidates.max(axis=0) < 0] = 0
    return np.asarray(classes)


def classified(
    prediction: Stored, box: Box, method: Method, settings: Sequence[ClassSettings]
) -> Array:
    """Return the class of every voxel of a box of a prediction.

    Parameters
    ----------
    prediction : Stored
        (class, z, y, x) probabilities.
    box : Box
        Within the prediction's grid.
    method : {"argmax", "threshold"}
        See `classify`.
    settings : sequence of ClassSettings
        Settings of every class except the background.

    Returns
    -------
    (z, y, x) uint8
        Class indices.

    Raises
    ------
    VoxelError
        If a probability is NaN.
    """
    classes = np.empty(box.shape, np.uint8)
    thresholds = [s.threshold for s in settings]
    # In parts, since the probabilities of all classes take many times the memory.
    for part in box.tiles(PREDICTION_SHARD):
        found = classify(prediction.read(part), method=method, thresholds=thresholds)
        classes[part.relative_to(box.start).slices] = found
    return classes
