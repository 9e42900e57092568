"""Score of a detector over a set of scans."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from parafovea.quality.detections.bootstrap import (
    BAND,
    Marks,
    Resampled,
    interval,
    resample,
)
from parafovea.quality.detections.froc import (
    OPERATING_POINTS,
    FrocCurve,
    competition_score,
    froc_curve,
)
from parafovea.quality.detections.matching import (
    MOST_CANDIDATES,
    Matching,
    match_candidates,
)
from parafovea.quality.detections.tables import COORDINATES


@dataclass(frozen=True)
class DetectionScore:
    """Sensitivities, score and thresholds of a detector.

    Parameters
    ----------
    matching : Matching
        Outcome of each candidate and finding.
    curve : FrocCurve
        Sensitivity over false positives per scan.
    resampled : Resampled or None
        Bootstrap of the curve; None without one.
    confidence : float
        Confidence level of the intervals.
    """

    matching: Matching
    curve: FrocCurve
    resampled: Resampled | None
    confidence: float = 0.95

    @property
    def score(self) -> float:
        """Mean sensitivity at the seven operating points (CPM)."""
        return competition_score(self.curve.sensitivity_at())

    @property
    def score_interval(self) -> tuple[float, float] | None:
        """Interval of `score`; None without a bootstrap."""
        if self.resampled is None or not len(self.resampled.at_points):
            return None
        low, high = interval(self.resampled.at_points.mean(axis=1), confidence=self.confidence)
        return float(low), float(high)

    @property
    def points(self) -> pd.DataFrame:
        """Rows of the operating points.

        Columns false_positives_per_scan, sensitivity, lower, upper (NaN without a bootstrap) and
        threshold (inf if even the most probable candidate exceeds the rate).
        """
        return self._lines(np.asarray(OPERATING_POINTS), "at_points").assign(
            threshold=self.curve.threshold_at()
        )

    @property
    def band(self) -> pd.DataFrame:
        """The curve from 1/8 to 8 false positives per scan with its interval, for a figure."""
        return self._lines(BAND, "in_band")

    def _lines(self, places: np.ndarray[Any, Any], name: str) -> pd.DataFrame:
        drawn = None if self.resampled is None else getattr(self.resampled, name)
        low = high = np.full(len(places), np.nan)
        if drawn is not None and len(drawn):
            low, high = interval(drawn, confidence=self.confidence)
        return pd.DataFrame(
            {
                "false_positives_per_scan": places,
                "sensitivity": self.curve.sensitivity_at(places),
                "lower": low,
                "upper": high,
            }
        )

    def summary(self) -> dict[str, Any]:
        """Return everything except the curve as JSON-serializable numbers; None if undefined."""
        scores = self.score_interval
        bootstrap = None
        if self.resampled is not None:
            left_out = self.resampled.without_findings
            bootstrap = {
                "draws": len(self.resampled.at_points) + left_out,
                "without_findings": left_out,
                "confidence": self.confidence,
            }
        return {
            "cpm": self.score,
            "cpm_interval": None if scores is None else list(scores),
            "points": [
                {name: value if math.isfinite(value) else None for name, value in line.items()}
                for line in self.points.to_dict("records")
            ],
            "counts": self.matching.counts,
            "bootstrap": bootstrap,
        }


def evaluate_detections(
    candidates: pd.DataFrame,
    findings: pd.DataFrame,
    *,
    excluded: pd.DataFrame | None = None,
    series: Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    most: int | None = MOST_CANDIDATES,
) -> DetectionScore:
    """Score candidates against findings by the LUNA16 rules.

    Parameters
    ----------
    candidates, findings, excluded, series, most
        As for `parafovea.quality.detections.matching.match_candidates`.
    bootstrap : int
        Number of bootstrap samples of scans; 0 for none.
    seed : int
        Random seed of the bootstrap.

    Returns
    -------
    DetectionScore
        Score of all scans together.

    Raises
    ------
    TableError
        As `match_candidates`.
    """
    matching = match_candidates(candidates, findings, excluded=excluded, series=series, most=most)
    hits, wrong = matching.hits, matching.false_positives
    scans = len(matching.series)
    marks = Marks(
        hits["probability"].to_numpy(float),
        hits["scan"].to_numpy(int),
        wrong["probability"].to_numpy(float),
        wrong["scan"].to_numpy(int),
        np.bincount(matching.findings["scan"], minlength=scans),
    )
    curve = froc_curve(
        marks.hits, marks.false_positives, findings=len(matching.findings), scans=scans
    )
    resampled = resample(marks, draws=bootstrap, seed=seed) if bootstrap else None
    return DetectionScore(matching, curve, resampled)


_FINDINGS = ["seriesuid", *COORDINATES, "diameter_mm"]


def score_cohort(
    candidates: Mapping[str, pd.DataFrame],
    nodules: Mapping[str, list[dict[str, Any]]],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> DetectionScore | None:
    """Score all scans of a task with truth by the rules of LUNA16.

    Parameters
    ----------
    candidates : mapping of str to DataFrame
        coordX, coordY, coordZ, diameter_mm, probability of each scan, by the sample's name, since
        two samples may have the same series.
    nodules : mapping of str to list of dict
        Nodules, possibly none, of each scan with truth: coordinates (x, y, z) and diameter_mm as in
        quality.json.
    bootstrap, seed
        As for `evaluate_detections`.

    Returns
    -------
    DetectionScore or None
        None if no scan has a nodule, since sensitivity is then undefined.
    """
    rows = [
        [name, *each["coordinates"], each["diameter_mm"]]
        for name, own in nodules.items()
        for each in own
    ]
    if not rows:
        return None
    marks = [candidates[name].assign(seriesuid=name) for name in nodules]
    return evaluate_detections(
        pd.concat(marks, ignore_index=True),
        pd.DataFrame(rows, columns=_FINDINGS),
        series=tuple(nodules),
        bootstrap=bootstrap,
        seed=seed,
    )
