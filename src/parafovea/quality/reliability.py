"""How well probabilities agree with labels: bins, calibration error, log loss, Brier score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Of equal width over [0, 1], as in Guo et al., "On calibration of modern neural networks" (ICML
#: 2017).
BINS = 15

#: Probabilities this near to 0 or 1 count as this in the log loss.
_SMALLEST = 1e-7


@dataclass(frozen=True)
class Reliability:
    """Probabilities in bins (i / n, (i + 1) / n] of equal width; the first holds 0, too.

    Parameters
    ----------
    count : (bins,) int64
        Candidates in each bin.
    predicted, observed : (bins,) float64
        Mean probability, and share of label 1; NaN where the bin is empty.
    """

    count: Array
    predicted: Array
    observed: Array

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of predicted and observed, weighted by count.

        Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
        binning" (AAAI 2015), of the probability of label 1.
        """
        held = self.count > 0
        gaps = np.abs(self.predicted[held] - self.observed[held])
        return float(np.average(gaps, weights=self.count[held]))


def reliability(probability: Array, label: Array, *, bins: int = BINS) -> Reliability:
    """Compare probabilities with labels, bin by bin.

    Parameters
    ----------
    probability : (n,) float
        In [0, 1].
    label : (n,) int
        1 true, 0 false.
    bins : int
        Of equal width.
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(probability, edges[1:-1], right=True)
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (probability, label)]
    with np.errstate(invalid="ignore"):
        predicted, observed = (values / count for values in sums)
    return Reliability(count, predicted, observed)


def log_loss(probability: Array, label: Array) -> float:
    """Return the mean of -log of the probability that was given to the true label."""
    kept = np.clip(np.asarray(probability, float), _SMALLEST, 1 - _SMALLEST)
    return float(-np.mean(np.where(np.asarray(label) == 1, np.log(kept), np.log1p(-kept))))


def brier_score(probability: Array, label: Array) -> float:
    """Return the mean squared difference of probability and label (Brier 1950)."""
    return float(np.mean((np.asarray(probability, float) - label) ** 2))
