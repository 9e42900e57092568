"""Metrics without truth: uncertainty of a prediction, and seams between its windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import entr

from parafovea.geometry.grid import Box, Shape
from parafovea.storage.blocks import VOLUME_SHARD
from parafovea.storage.store import Stored

Array = np.ndarray[Any, Any]


#: Probabilities are added in units of 2**-24, so that sums are integers and do not depend on the
#: order of addition. It is the resolution of float16 near 0, and of float32 near 1.
_UNITS = 2.0**24


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


@dataclass(frozen=True)
class ProbabilitySums:
    """Integer sums over a part of a prediction; sums of parts add up to those of the whole.

    Parameters
    ----------
    entropy : int
        Sum of the entropies of the voxels, in 2**-24 nat.
    covered : int
        Number of voxels with a probability other than 0.
    steps : tuple of (n,) int64
        For z, y and x: entry i is the sum over the part of the absolute differences of the
        probabilities between planes i and i + 1 of the whole prediction, in 2**-24.
    """

    entropy: int
    covered: int
    steps: tuple[Array, Array, Array]

    @classmethod
    def zeros(cls, shape: Shape) -> ProbabilitySums:
        """Return the sums over no voxels of a prediction of this shape (z, y, x)."""
        z, y, x = (np.zeros(n - 1, np.int64) for n in shape)
        return cls(0, 0, (z, y, x))

    def __add__(self, other: ProbabilitySums) -> ProbabilitySums:
        """Return the sums over two disjoint parts of one prediction."""
        z, y, x = (a + b for a, b in zip(self.steps, other.steps, strict=True))
        return ProbabilitySums(
            self.entropy + other.entropy, self.covered + other.covered, (z, y, x)
        )

    def profile(self, classes: int) -> ProbabilityProfile:
        """Return the statistics of a whole prediction of a number of classes."""
        shape = [len(steps) + 1 for steps in self.steps]
        areas = (shape[1] * shape[2], shape[0] * shape[2], shape[0] * shape[1])
        z, y, x = (s / (_UNITS * classes * a) for s, a in zip(self.steps, areas, strict=True))
        most = self.covered * math.log(classes)
        return ProbabilityProfile(self.entropy / _UNITS / most if most else None, (z, y, x))


def sum_probabilities(
    prediction: Stored, part: Box, *, block: Shape = VOLUME_SHARD
) -> ProbabilitySums:
    """Return the sums over a part of a prediction, which is read block by block.

    A step between two planes belongs to the part that holds the second. Memory is bounded by a
    block and the voxels before it.

    Parameters
    ----------
    prediction : Stored
        (class, z, y, x) probabilities.
    part : Box
        Box within the prediction.
    block : tuple of int
        Voxels that are read at once along z, y, x; the sums do not depend on it.
    """
    sums = ProbabilitySums.zeros(prediction.grid.shape)
    for box in part.tiles(block):
        sums += _block_sums(prediction, box)
    return sums


def _block_sums(prediction: Stored, box: Box) -> ProbabilitySums:
    before = box.expanded((1, 1, 1)).intersection(prediction.grid.box)
    with_planes_before = prediction.read(Box(before.start, box.stop))
    halo = [a - b for a, b in zip(box.start, before.start, strict=True)]
    own = tuple(slice(n, None) for n in halo)
    sums = ProbabilitySums.zeros(prediction.grid.shape)
    entropy, covered = 0, np.zeros(box.shape, bool)
    for stored in with_planes_before:
        # one class at a time, which takes less memory
        values = stored.astype(np.float32)
        covered |= values[own] != 0
        entropy += int(_in_units(entr(np.maximum(values[own], 0))).sum(dtype=np.float64))
        values = _in_units(values)
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            inner = tuple(slice(None) if a == axis else own[a] for a in range(3))
            steps = np.diff(values[inner], axis=axis)
            np.abs(steps, out=steps)
            first = before.start[axis]
            sums.steps[axis][first : first + steps.shape[axis]] += steps.sum(
                axis=others, dtype=np.float64
            ).astype(np.int64)
    return ProbabilitySums(entropy, int(np.count_nonzero(covered)), sums.steps)


def _in_units(values: Array) -> Array:
    """Return whole numbers, float32: their differences, and their sums in float64, are exact."""
    return np.asarray(np.rint(values * np.float32(_UNITS)))


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
