"""The free-response receiver operating characteristic (FROC): sensitivity over false positives.

Follows the script noduleCADEvaluationLUNA16.py of the LUNA16 challenge (Setio et al.,
Medical Image Analysis 42, 2017): sensitivities are read from the curve by linear interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.errors import TableError

Array = np.ndarray[Any, Any]

#: False positives per scan at which sensitivity is evaluated.
OPERATING_POINTS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class FrocCurve:
    """FROC curve: a point for each distinct probability in decreasing order, after (0, 0).

    Parameters
    ----------
    false_positives : (n,) float64
        False positives per scan among the candidates with a probability of at least `threshold`.
    sensitivity : (n,) float64
        Share of the findings hit by these candidates.
    threshold : (n,) float64
        Probability; inf at the first point.
    """

    false_positives: Array
    sensitivity: Array
    threshold: Array

    def sensitivity_at(self, false_positives: Sequence[float] | Array = OPERATING_POINTS) -> Array:
        """Return sensitivities at false positives per scan.

        The curve is interpolated linearly, and constant beyond its end.

        Parameters
        ----------
        false_positives : (k,) float
            False positives per scan.

        Returns
        -------
        (k,) float64
            In [0, 1].
        """
        wanted = np.asarray(false_positives, float)
        return np.asarray(np.interp(wanted, self.false_positives, self.sensitivity))

    def threshold_at(self, false_positives: Sequence[float] | Array = OPERATING_POINTS) -> Array:
        """Return the lowest thresholds with at most a number of false positives per scan.

        Parameters
        ----------
        false_positives : (k,) float
            False positives per scan.

        Returns
        -------
        (k,) float64
            Probability of a candidate; inf if even the most probable one exceeds the rate.
        """
        wanted = np.asarray(false_positives, float)
        # a count divided by a number of scans is not exact
        last = np.searchsorted(self.false_positives, wanted * (1 + 1e-12), side="right") - 1
        return np.asarray(self.threshold[last])

    def corners(self) -> FrocCurve:
        """Return the curve without points on a straight line between their neighbours.

        These are the points in the official script's output.
        """
        # the first point is added after the selection, and so never drops the second
        x, y = self.false_positives[1:], self.sensitivity[1:]
        kept = np.ones(len(x), bool)
        if len(x) > 2:
            steps = np.stack([x, y])
            flat = np.isclose(np.diff(steps, 2), 0, rtol=0, atol=1e-12).all(axis=0)
            kept[1:-1] = ~flat
        rows = np.concatenate([[0], 1 + np.flatnonzero(kept)])
        return FrocCurve(self.false_positives[rows], self.sensitivity[rows], self.threshold[rows])


def froc_curve(hits: Array, false_positives: Array, *, findings: int, scans: int) -> FrocCurve:
    """Return the curve of a detector over a set of scans.

    Parameters
    ----------
    hits : (n,) float
        Probability of each finding that is hit: the highest of its candidates.
    false_positives : (m,) float
        Probability of each false positive.
    findings : int
        Number of all findings, hit or missed.
    scans : int
        Number of all scans, with or without candidates.

    Returns
    -------
    FrocCurve
        The curve; candidates of equal probability share a point.

    Raises
    ------
    TableError
        If there are no findings or no scans, or fewer findings than hits.
    """
    if findings < 1 or scans < 1 or len(hits) > findings:
        raise TableError(
            f"{len(hits)} hits of {findings} findings in {scans} scans have no FROC: there must be "
            "at least one scan and one finding, and no more hits than findings"
        )
    probability = np.concatenate([hits, false_positives]).astype(float)
    order = np.argsort(-probability, kind="stable")
    falling, is_hit = probability[order], order < len(hits)
    # the last of each probability
    ends = np.flatnonzero(np.diff(falling, append=-np.inf))
    return FrocCurve(
        np.concatenate([[0.0], np.cumsum(~is_hit)[ends] / scans]),
        np.concatenate([[0.0], np.cumsum(is_hit)[ends] / findings]),
        np.concatenate([[np.inf], falling[ends]]),
    )


def competition_score(sensitivities: Array) -> float:
    """Return the mean sensitivity at `OPERATING_POINTS`, the CPM of LUNA16."""
    return float(np.mean(sensitivities))
