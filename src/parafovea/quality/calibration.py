"""A calibration, and how well it does on what it was fitted to and on what it was not."""

from __future__ import annotations

from typing import Any

import numpy as np

from parafovea import __version__
from parafovea.postprocess.calibration import Calibration, Fit, Measures, Method, Owner
from parafovea.postprocess.calibration_fit import check_labels, fit_map
from parafovea.quality.reliability import BINS, brier_score, log_loss, reliability

Array = np.ndarray[Any, Any]

FOLDS = 5


def measure(probability: Array, label: Array) -> Measures:
    """Return how well probabilities fit labels.

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
    """Fit a calibration and say what it does.

    Parameters
    ----------
    probability : (n,) float
        Scores in [0, 1].
    label : (n,) int
        1 true, 0 false.
    method : str
        temperature, platt or isotonic.
    model : Owner, optional
        The model whose scores they are.
    source, source_sha256 : str, optional
        Name and hash of the file that they come from.

    Returns
    -------
    Calibration
        Fitted to all; its `held_out` measures come from five fits to four fifths each.

    Raises
    ------
    CalibrationError
        If there are too few of one label, or scores do not rise with labels.
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
    """Return the fold of each candidate: chosen by chance, the same each time, each label evenly.

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
