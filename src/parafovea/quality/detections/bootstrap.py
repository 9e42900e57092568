"""Bootstrap of the FROC over scans.

Follows the LUNA16 challenge (https://luna16.grand-challenge.org/Evaluation/): each bootstrap sample
draws as many whole scans as there are, with replacement, and has its own curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.quality.detections.froc import OPERATING_POINTS

Array = np.ndarray[Any, Any]

#: False positives per scan at which a figure's band is computed, evenly spaced on a log axis.
BAND = np.logspace(-3, 3, 97, base=2)

#: Elements of the arrays processed at once.
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Marks:
    """Hits and false positives with their scans.

    Parameters
    ----------
    hits, hit_scans : (n,) float, (n,) int
        Probability and scan of each finding that is hit.
    false_positives, false_positive_scans : (m,) float, (m,) int
        Probability and scan of each false positive.
    findings : (scans,) int
        Number of findings of each scan, hit or missed.
    """

    hits: Array
    hit_scans: Array
    false_positives: Array
    false_positive_scans: Array
    findings: Array


@dataclass(frozen=True)
class Resampled:
    """Sensitivities of all bootstrap samples.

    Parameters
    ----------
    at_points : (draws, 7) float64
        Sensitivity at `OPERATING_POINTS`.
    in_band : (draws, 97) float64
        Sensitivity at `BAND`.
    without_findings : int
        Number of bootstrap samples without findings, which have no sensitivity and are excluded.
    """

    at_points: Array
    in_band: Array
    without_findings: int


def resample(
    marks: Marks,
    *,
    draws: int,
    seed: int,
    points: Sequence[float] = OPERATING_POINTS,
) -> Resampled:
    """Return the FROCs of bootstrap samples of scans.

    Parameters
    ----------
    marks : Marks
        Hits and false positives of all scans.
    draws : int
        Number of bootstrap samples.
    seed : int
        Random seed.
    points : sequence of float
        False positives per scan.

    Returns
    -------
    Resampled
        Sensitivities, a row per bootstrap sample.
    """
    scans = len(marks.findings)
    random = np.random.default_rng(seed)
    true, false = _steps(marks)
    places = np.concatenate([points, BAND])
    rows: list[Array] = []
    empty = 0
    block = max(1, _BLOCK // (true.shape[1] + scans))
    for start in range(0, draws, block):
        times = np.stack(
            [
                np.bincount(random.integers(scans, size=scans), minlength=scans)
                for _ in range(min(block, draws - start))
            ]
        )
        findings = times @ marks.findings
        empty += int(np.count_nonzero(findings == 0))
        drawn, whole = times[findings > 0].astype(float), findings[findings > 0]
        # counts are integers, so that the products are exact
        x = np.cumsum(drawn @ false, axis=1) / scans
        y = np.cumsum(drawn @ true, axis=1) / whole[:, None]
        rows += [np.interp(places, *curve) for curve in zip(x, y, strict=True)]
    values = np.array(rows).reshape(len(rows), len(places))
    return Resampled(values[:, : len(points)], values[:, len(points) :], empty)


def _steps(marks: Marks) -> tuple[Array, Array]:
    """Return the increments of hits and false positives of each scan between corners of the curve.

    A curve is flat where no finding is hit, so that its corners are at the probabilities of hits:
    one before and one at each, for every bootstrap sample. The first corner is (0, 0).

    Returns
    -------
    tuple of ndarray
        Hits and false positives, each (scan, corner) float64.
    """
    scans = len(marks.findings)
    levels = np.unique(marks.hits)
    shape = (scans, 2 * len(levels) + 2)
    true, false = np.zeros(shape), np.zeros(shape)
    # level i from the top is corner 2 i + 2; values between it and the level above are 2 i + 1
    above = len(levels) - 1 - np.searchsorted(levels, marks.hits)
    np.add.at(true, (marks.hit_scans, 2 * above + 2), 1)
    reached = np.searchsorted(levels, marks.false_positives, side="right")
    on_level = np.isin(marks.false_positives, levels)
    corner = 2 * (len(levels) - reached) + 1 + np.where(on_level, 1, 0)
    np.add.at(false, (marks.false_positive_scans, corner), 1)
    return true, false


def interval(values: Array, *, confidence: float = 0.95) -> tuple[Array, Array]:
    """Return the percentile interval that contains this share of the bootstrap samples.

    As in the official script, the ends are the values at index floor(n (1 - confidence) / 2) and
    floor(n (1 + confidence) / 2) of the n sorted values.

    Parameters
    ----------
    values : (draws, ...) float
        Values of at least one bootstrap sample.
    confidence : float
        In (0, 1).

    Returns
    -------
    tuple of ndarray
        Lower and upper ends, of the shape of one bootstrap sample.
    """
    ordered = np.sort(values, axis=0)
    count = len(ordered)
    # rounding must not reduce 0.975 of 1000 below 975
    low = math.floor(count * (1 - confidence) / 2 + 1e-9)
    high = math.floor(count * (1 + confidence) / 2 + 1e-9)
    return ordered[low], ordered[min(high, count - 1)]
