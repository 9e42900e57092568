"""Metrics without truth: uncertainty of a prediction, and seams between its windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import entr

from parafovea.geometry.grid import Box
from parafovea.storage.store import Stored

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ProbabilityProfile:
    """Statistics of a prediction for the metrics without truth.

    Parameters
    ----------
    entropy : float or None
        Mean entropy of the class probabilities, divided by the natural logarithm of the number of
        classes, in [0, 1]. Voxels with all probabilities 0 are ignored; None if all are.
    steps : tuple of (n,) float64
        For z, y and x: entry i is the mean absolute difference of the probabilities between
        planes i and i + 1 across that axis.
    """

    entropy: float | None
    steps: tuple[Array, Array, Array]


def profile_probabilities(
    prediction: Stored, *, planes: int = 32, rows: int = 64
) -> ProbabilityProfile:
    """Return the statistics of a prediction, read once in bars of planes and rows.

    Parameters
    ----------
    prediction : Stored
        (class, z, y, x) probabilities.
    planes, rows : int
        Voxels of a bar along z and y; it spans the volume along x.
    """
    depth, height, width = shape = prediction.grid.shape
    classes = len(prediction.channels or ())
    sums = [np.zeros(n - 1) for n in shape]
    entropy, covered = 0.0, 0
    plane_before = np.zeros((classes, height, width), np.float32)
    row_before = np.zeros((classes, planes, width), np.float32)
    for bar in Box.whole(shape).tiles((planes, rows, width)):
        values = prediction.read(bar).astype(np.float32)
        entropy += float(entr(np.maximum(values, 0)).sum(dtype=np.float64))
        covered += int(np.count_nonzero(values.any(axis=0)))
        (z0, y0, _), (z1, y1, _) = bar.start, bar.stop
        if z0:
            sums[0][z0 - 1] += _step(plane_before[:, y0:y1], values[:, 0])
        if y0:
            sums[1][y0 - 1] += _step(row_before[:, : z1 - z0], values[:, :, 0])
        for axis, begin in ((0, z0), (1, y0), (2, 0)):
            inner = np.abs(np.diff(values, axis=axis + 1))
            others = tuple(a for a in range(4) if a != axis + 1)
            sums[axis][begin : begin + inner.shape[axis + 1]] += inner.sum(
                axis=others, dtype=np.float64
            )
        plane_before[:, y0:y1] = values[:, -1]
        row_before[:, : z1 - z0] = values[:, :, -1]
    areas = (height * width, depth * width, depth * height)
    z, y, x = (s / (classes * area) for s, area in zip(sums, areas, strict=True))
    mean = entropy / (covered * math.log(classes)) if covered else None
    return ProbabilityProfile(mean, (z, y, x))


def _step(before: Array, after: Array) -> float:
    return float(np.abs(after - before).sum(dtype=np.float64))


def seam_energy(
    steps: Array, starts: Sequence[int], window: int, *, scale: float = 1.0
) -> float | None:
    """Return the steps of the probabilities at window faces relative to elsewhere.

    Parameters
    ----------
    steps : (n,) float64
        Mean absolute difference between planes i and i + 1 across one axis.
    starts : sequence of int
        First plane of every window along this axis.
    window : int
        Planes of a window.
    scale : float
        Planes of the prediction per plane of the volume, for `starts` and `window`.

    Returns
    -------
    float or None
        Mean of the steps at window faces divided by the mean of all others: 1 without seams. None
        without a face inside the volume, or without any step elsewhere.
    """
    faces = np.array([edge for s in starts for edge in (s, s + window)], dtype=np.float64)
    edges = np.rint(faces * scale).astype(np.int64)
    inside = np.unique(edges[(edges > 0) & (edges <= len(steps))]) - 1
    at_face = np.zeros(len(steps), bool)
    at_face[inside] = True
    if at_face.all() or not at_face.any():
        return None
    elsewhere = float(steps[~at_face].mean())
    return float(steps[at_face].mean()) / elsewhere if elsewhere > 0 else None
