"""How sure a FROC is: the scans drawn again and again, with replacement.

As the LUNA16 challenge does it (https://luna16.grand-challenge.org/Evaluation/): whole scans are
drawn, as many as there are, and every draw has a curve of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.quality.detections.froc import OPERATING_POINTS

Array = np.ndarray[Any, Any]

#: Places of the band of a figure: false positives a scan, evenly spread on a logarithmic axis.
BAND = np.logspace(-3, 3, 97, base=2)

#: Elements of the arrays that are worked on at once.
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Marks:
    """Hits and false positives with the scans that they are in.

    Parameters
    ----------
    hits, hit_scans : (n,) float, (n,) int
        Probability and scan of each finding that was hit.
    false_positives, false_positive_scans : (m,) float, (m,) int
        Probability and scan of each false positive.
    findings : (scans,) int
        Findings of each scan, hit or missed.
    """

    hits: Array
    hit_scans: Array
    false_positives: Array
    false_positive_scans: Array
    findings: Array


@dataclass(frozen=True)
class Resampled:
    """Sensitivities of all draws.

    Parameters
    ----------
    at_points : (draws, 7) float64
        At `OPERATING_POINTS`.
    in_band : (draws, 97) float64
        At `BAND`.
    without_findings : int
        Draws that held no finding and so have no sensitivity; they are left out.
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
    """Draw scans with replacement and compute the FROC of each draw.

    Parameters
    ----------
    marks : Marks
        What was found where.
    draws : int
        How often.
    seed : int
        The same seed, the same draws.
    points : sequence of float
        False positives a scan.

    Returns
    -------
    Resampled
        Sensitivities, a row a draw.
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
        # counts are whole numbers, so that the products are exact
        x = np.cumsum(drawn @ false, axis=1) / scans
        y = np.cumsum(drawn @ true, axis=1) / whole[:, None]
        rows += [np.interp(places, *curve) for curve in zip(x, y, strict=True)]
    values = np.array(rows).reshape(len(rows), len(places))
    return Resampled(values[:, : len(points)], values[:, len(points) :], empty)


def _steps(marks: Marks) -> tuple[Array, Array]:
    """Return what each scan adds to hits and to false positives from corner to corner of a curve.

    A curve is level wherever no finding is hit, so that its corners are the probabilities of
    hits: one before and one at each, whatever the draw. The first is (0, 0).

    Returns
    -------
    tuple of ndarray
        Hits and false positives, each (scan, corner) float64.
    """
    scans = len(marks.findings)
    levels = np.unique(marks.hits)
    shape = (scans, 2 * len(levels) + 2)
    true, false = np.zeros(shape), np.zeros(shape)
    # level i from the top is corner 2 i + 2; what lies between it and the one above is 2 i + 1
    above = len(levels) - 1 - np.searchsorted(levels, marks.hits)
    np.add.at(true, (marks.hit_scans, 2 * above + 2), 1)
    reached = np.searchsorted(levels, marks.false_positives, side="right")
    on_level = np.isin(marks.false_positives, levels)
    corner = 2 * (len(levels) - reached) + 1 + np.where(on_level, 1, 0)
    np.add.at(false, (marks.false_positive_scans, corner), 1)
    return true, false


def interval(values: Array, *, confidence: float = 0.95) -> tuple[Array, Array]:
    """Return the ends of the interval that holds this share of the draws.

    The ends are values of draws, chosen as the official script does: of n sorted ones those of
    index floor(n (1 - confidence) / 2) and floor(n (1 + confidence) / 2).

    Parameters
    ----------
    values : (draws, ...) float
        At least one draw.
    confidence : float
        In (0, 1).

    Returns
    -------
    tuple of ndarray
        Lower and upper ends, of the shape of one draw.
    """
    ordered = np.sort(values, axis=0)
    count = len(ordered)
    # a share such as 0.975 of 1000 must not fall below 975 by rounding
    low = math.floor(count * (1 - confidence) / 2 + 1e-9)
    high = math.floor(count * (1 + confidence) / 2 + 1e-9)
    return ordered[low], ordered[min(high, count - 1)]
