"""Fitting of calibrations to labelled scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression, minimize, minimize_scalar

from parafovea.errors import CalibrationError
from parafovea.postprocess.detection.calibration import Isotonic, Method, Platt, Temperature, logit

Array = np.ndarray[Any, Any]

#: Minimum number of candidates with each label.
FEWEST = 10

#: Number of candidates below which isotonic regression overfits.
FEWEST_ISOTONIC = 1000

#: Bounds of the logarithm of the temperature, which has no optimum for perfectly separated labels.
_LOG_TEMPERATURES = (-5.0, 5.0)


def fit_map(probability: Array, label: Array, *, method: Method) -> Temperature | Platt | Isotonic:
    """Fit a map from scores to probabilities.

    Temperature and Platt minimise the log loss; Platt's targets are (n1 + 1) / (n1 + 2) and
    1 / (n0 + 2) instead of 1 and 0, which he proposes against overfitting (Platt 1999). Isotonic
    regression minimises the squared error of a non-decreasing map with the pool adjacent violators
    algorithm; equal scores are pooled first.

    Parameters
    ----------
    probability : (n,) float
        Scores in [0, 1].
    label : (n,) int
        1 for true, 0 for false candidates.
    method : str
        temperature, platt or isotonic.

    Returns
    -------
    Temperature, Platt or Isotonic
        The fitted map.

    Raises
    ------
    CalibrationError
        If scores do not increase with labels.
    """
    scores, truth = np.asarray(probability, float), np.asarray(label, int)
    if method == "isotonic":
        return _isotonic(scores, truth)
    x = logit(scores)
    if method == "temperature":
        done = minimize_scalar(
            lambda t: _log_loss(x * np.exp(-t), truth), bounds=_LOG_TEMPERATURES, method="bounded"
        )
        return Temperature(temperature=float(np.exp(done.x)))
    ones = int(truth.sum())
    zeros = len(truth) - ones
    target = np.where(truth == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))

    def loss(parameters: Array) -> tuple[float, Array]:
        value = parameters[0] * x + parameters[1]
        # the mean of log(1 + exp(v)) - t v, and its gradient
        error = 0.5 * (1 + np.tanh(0.5 * value)) - target
        return (
            float(np.mean(np.logaddexp(0, value) - target * value)),
            np.array([np.mean(error * x), np.mean(error)]),
        )

    begin = np.array([1.0, 0.0])
    slope, intercept = minimize(loss, begin, jac=True, method="BFGS").x
    if slope <= 0:
        raise CalibrationError(
            "scores do not increase with labels: higher ones are not more often true, so no "
            "calibration can help; check that label is 1 for true candidates"
        )
    return Platt(slope=float(slope), intercept=float(intercept))


def check_labels(label: Array) -> None:
    """Raise `CalibrationError` if a label has fewer than `FEWEST` candidates."""
    ones = int(np.count_nonzero(label == 1))
    zeros = len(label) - ones
    if min(ones, zeros) < FEWEST:
        kind = "only one class" if min(ones, zeros) == 0 else "too few of one class"
        raise CalibrationError(
            f"{ones} candidates have label 1 and {zeros} label 0, {kind}: a calibration needs at "
            f"least {FEWEST} of each"
        )


def _log_loss(value: Array, truth: Array) -> float:
    return float(np.mean(np.logaddexp(0, value) - truth * value))


def _isotonic(scores: Array, truth: Array) -> Isotonic:
    levels, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=truth) / count
    fitted = np.clip(isotonic_regression(means, weights=count).x, 0, 1)
    # a constant run of steps needs its two ends only
    inner = np.ones(len(levels), bool)
    inner[1:-1] = (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:])
    return Isotonic(score=tuple(levels[inner].tolist()), calibrated=tuple(fitted[inner].tolist()))
