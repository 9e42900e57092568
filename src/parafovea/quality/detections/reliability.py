"""Reliability of probabilities, and cross-validated measures of a calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea import __version__
from parafovea.postprocess.detection.calibration import Calibration, Fit, Measures, Method, Owner
from parafovea.postprocess.detection.calibration_fit import check_labels, fit_map

Array = np.ndarray[Any, Any]

#: Equal bins over [0, 1], as in Guo et al., "On calibration of modern neural networks" (ICML
#: 2017).
BINS = 15

#: Distance from 0 and 1 that probabilities are clipped to in the log loss.
_SMALLEST = 1e-7


@dataclass(frozen=True)
class Reliability:
    """Probabilities in bins (i / n, (i + 1) / n] of equal width; the first includes 0.

    Parameters
    ----------
    count : (bins,) int64
        Number of candidates in each bin.
    predicted, observed : (bins,) float64
        Mean probability, and share of label 1; NaN for empty bins.
    """

    count: Array
    predicted: Array
    observed: Array

    @property
    def expected_calibration_error(self) -> float:
        """Mean difference of predicted and observed, weighted by count.

        Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
        binning" (AAAI 2015), of the probability of label 1.
        """
        held = self.count > 0
        gaps = np.abs(self.predicted[held] - self.observed[held])
        return float(np.average(gaps, weights=self.count[held]))


def reliability(probability: Array, label: Array, *, bins: int = BINS) -> Reliability:
    """Return the reliability of probabilities by bin.

    Parameters
    ----------
    probability : (n,) float
        In [0, 1].
    label : (n,) int
        1 true, 0 false.
    bins : int
        Number of bins of equal width.
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(probability, edges[1:-1], right=True)
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (probability, label)]
    with np.errstate(invalid="ignore"):
        predicted, observed = (values / count for values in sums)
    return Reliability(count, predicted, observed)


def log_loss(probability: Array, label: Array) -> float:
    """Return the mean of -log of the true label's probability."""
    kept = np.clip(np.asarray(probability, float), _SMALLEST, 1 - _SMALLEST)
    return float(-np.mean(np.where(np.asarray(label) == 1, np.log(kept), np.log1p(-kept))))


def brier_score(probability: Array, label: Array) -> float:
    """Return the mean squared difference of probability and label (Brier 1950)."""
    return float(np.mean((np.asarray(probability, float) - label) ** 2))


FOLDS = 5


def measure(probability: Array, label: Array) -> Measures:
    """Return the calibration measures of probabilities.

    Parameters
    ----------
    probability : (n,) float
        In [0, 1].
    label : (n,) int
        1 true, 0 false.
    """
    return Measures(
        ece=reliability(probability, label).expected_calibration_error,
        log_loss=log_loss(probability, label),
        brier=brier_score(probability, label),
    )


def calibrate(
    probability: Array,
    label: Array,
    *,
    method: Method,
    model: Owner | None = None,
    source: str | None = None,
    source_sha256: str | None = None,
) -> Calibration:
    """Fit a calibration and measure it.

    Parameters
    ----------
    probability : (n,) float
        Scores in [0, 1].
    label : (n,) int
        1 true, 0 false.
    method : str
        temperature, platt or isotonic.
    model : Owner, optional
        Model that produced the scores.
    source, source_sha256 : str, optional
        Name and hash of the file of the scores.

    Returns
    -------
    Calibration
        Calibration fitted to all scores; its `held_out` measures are from fivefold
        cross-validation.

    Raises
    ------
    CalibrationError
        If there are too few candidates of a label, or scores do not increase with labels.
    """
    scores, truth = np.asarray(probability, float), np.asarray(label, int)
    check_labels(truth)
    parameters = fit_map(scores, truth, method=method)
    held_out = np.empty(len(scores))
    fold = folds(truth)
    for index in range(FOLDS):
        own = fold == index
        others = fit_map(scores[~own], truth[~own], method=method)
        held_out[own] = others.apply(scores[own])
    return Calibration(
        method=method,
        parameters=parameters,
        model=model,
        fit=Fit(
            candidates=len(scores),
            positives=int(truth.sum()),
            bins=BINS,
            before=measure(scores, truth),
            after=measure(parameters.apply(scores), truth),
            held_out=measure(held_out, truth),
            source=source,
            source_sha256=source_sha256,
        ),
        version=__version__,
    )


def folds(label: Array) -> Array:
    """Return the fold of each candidate: random with a fixed seed, stratified by label.

    Parameters
    ----------
    label : (n,) int
        1 true, 0 false.

    Returns
    -------
    (n,) int64
        From 0 to `FOLDS` - 1.
    """
    random = np.random.default_rng(0)
    fold = np.empty(len(label), int)
    for value in (0, 1):
        own = random.permutation(np.flatnonzero(label == value))
        fold[own] = np.arange(len(own)) % FOLDS
    return fold
