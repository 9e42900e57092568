"""The free-response receiver operating characteristic (FROC): sensitivity over false positives.

As the script noduleCADEvaluationLUNA16.py of the LUNA16 challenge computes it (Setio et al.,
Medical Image Analysis 42, 2017): sensitivities are read from the curve by linear interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.errors import TableError

Array = np.ndarray[Any, Any]

#: False positives a scan at which sensitivity is read.
OPERATING_POINTS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class FrocCurve:
    """One point for each distinct probability, from the highest down; the first is (0, 0).

    Parameters
    ----------
    false_positives : (n,) float64
        False positives a scan among the candidates that are at least as probable as `threshold`.
    sensitivity : (n,) float64
        Share of the findings that these candidates hit.
    threshold : (n,) float64
        Probability; inf at the first point.
    """

    false_positives: Array
    sensitivity: Array
    threshold: Array

    def sensitivity_at(self, false_positives: Sequence[float] | Array = OPERATING_POINTS) -> Array:
        """Return sensitivities at false positives a scan.

        Between two points of the curve it is linear; past its end it stays.

        Parameters
        ----------
        false_positives : (k,) float
            False positives a scan.

        Returns
        -------
        (k,) float64
            In [0, 1].
        """
        wanted = np.asarray(false_positives, float)
        return np.asarray(np.interp(wanted, self.false_positives, self.sensitivity))

    def threshold_at(self, false_positives: Sequence[float] | Array = OPERATING_POINTS) -> Array:
        """Return the lowest thresholds with at most so many false positives a scan.

        Parameters
        ----------
        false_positives : (k,) float
            False positives a scan.

        Returns
        -------
        (k,) float64
            A probability of a candidate; inf where even the most probable one is too many.
        """
        wanted = np.asarray(false_positives, float)
        # a count over a number of scans is not exact
        last = np.searchsorted(self.false_positives, wanted * (1 + 1e-12), side="right") - 1
        return np.asarray(self.threshold[last])

    def corners(self) -> FrocCurve:
        """Return the curve without the points on a straight line between their neighbours.

        These are the points that the official script writes.
        """
        # the first point is added after the choice, and so never drops the second
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
        Probability of each finding that was hit: the highest of its candidates.
    false_positives : (m,) float
        Probability of each false positive.
    findings : int
        All findings, hit or missed.
    scans : int
        All scans, with candidates or without.

    Returns
    -------
    FrocCurve
        Candidates of the same probability are one point.

    Raises
    ------
    TableError
        If there are no findings or no scans, or fewer findings than hits.
    """
    if findings < 1 or scans < 1 or len(hits) > findings:
        raise TableError(
            f"{len(hits)} hits of {findings} findings in {scans} scans make no FROC: there must be "
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
    """Return the mean sensitivity at `OPERATING_POINTS`: LUNA16's score, called CPM."""
    return float(np.mean(sensitivities))
