"""Calibration of a detector's scores to probabilities and risk categories.

A calibration is a JSON file with the method, its parameters, the model that it belongs to, and
statistics of the fit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from parafovea.errors import CalibrationError
from parafovea.runtime.documents import json_values, read_text
from parafovea.runtime.validation import first_problem
from parafovea.settings.field_types import Strict

Array = np.ndarray[Any, Any]

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

#: Scores are clipped to this distance from 0 and 1, so that their logit is finite.
SMALLEST = 1e-7


def logit(probability: Array) -> Array:
    """Return log(p / (1 - p)), with p clipped to a distance of `SMALLEST` from 0 and 1."""
    kept = np.clip(np.asarray(probability, float), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def sigmoid(value: Array) -> Array:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(value, float))))


class Temperature(Strict):
    """Temperature scaling: sigmoid(logit(p) / temperature) (Guo et al., ICML 2017)."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def apply(self, probability: Array) -> Array:
        """Return calibrated probabilities."""
        return sigmoid(logit(probability) / self.temperature)


class Platt(Strict):
    """Platt scaling: sigmoid(slope logit(p) + intercept) (Platt 1999, on the score's logit)."""

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    intercept: Finite

    def apply(self, probability: Array) -> Array:
        """Return calibrated probabilities."""
        return sigmoid(self.slope * logit(probability) + self.intercept)


class Isotonic(Strict):
    """Isotonic regression (Zadrozny and Elkan, KDD 2002), with linear interpolation."""

    score: tuple[Share, ...] = Field(min_length=1)
    calibrated: tuple[Share, ...]

    @model_validator(mode="after")
    def _rising(self) -> Isotonic:
        if len(self.score) != len(self.calibrated):
            raise ValueError(
                f"score has {len(self.score)} values and calibrated {len(self.calibrated)}"
            )
        if (np.diff(self.score) <= 0).any() or (np.diff(self.calibrated) < 0).any():
            raise ValueError("score must be increasing, and calibrated non-decreasing")
        return self

    def apply(self, probability: Array) -> Array:
        """Return calibrated probabilities."""
        return np.asarray(np.interp(probability, self.score, self.calibrated))


Method = Literal["temperature", "platt", "isotonic"]

#: The parameters of each method.
PARAMETERS: Mapping[Method, type[Temperature] | type[Platt] | type[Isotonic]] = {
    "temperature": Temperature,
    "platt": Platt,
    "isotonic": Isotonic,
}


class Owner(Strict):
    """The model that a calibration belongs to."""

    name: str
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Measures(Strict):
    """Calibration metrics; see `parafovea.quality.detections.reliability`."""

    ece: Finite
    log_loss: Finite
    brier: Finite


class Fit(Strict):
    """Data and metrics of a fit.

    `held_out` is from five-fold cross-validation; `after` is on the candidates of the fit, and is
    therefore optimistic.
    """

    candidates: int
    positives: int
    bins: int
    before: Measures
    after: Measures
    held_out: Measures
    source: str | None = None
    source_sha256: str | None = None


class Calibration(Strict):
    """A map from scores to probabilities, with its provenance.

    Parameters
    ----------
    method : str
        temperature, platt or isotonic.
    parameters : Temperature, Platt or Isotonic
        Fitted parameters.
    model : Owner or None
        Model that the calibration belongs to; None if unspecified.
    fit : Fit
        Data and metrics of the fit.
    version : str
        Version of the package at the fit.
    """

    method: Method
    parameters: Temperature | Platt | Isotonic
    model: Owner | None
    fit: Fit
    version: str

    @field_validator("parameters", mode="before")
    @classmethod
    def _of_the_method(cls, value: Any, info: ValidationInfo) -> Any:
        if "method" not in info.data:
            return value
        kind = PARAMETERS[info.data["method"]]
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            raise ValueError(f"parameters: {first_problem(error)}") from error

    def apply(self, probability: Array) -> Array:
        """Return calibrated probabilities.

        Parameters
        ----------
        probability : (n,) float
            Scores of candidates, in [0, 1].

        Returns
        -------
        (n,) float64
            In [0, 1].

        Raises
        ------
        CalibrationError
            If a score is outside of [0, 1] or not finite.
        """
        scores = np.asarray(probability, float)
        wrong = scores[~((scores >= 0) & (scores <= 1))]
        if wrong.size:
            raise CalibrationError(
                f"score {wrong[0]:g} is outside 0 to 1: calibrations apply to probabilities"
            )
        return self.parameters.apply(scores)


def calibration_text(calibration: Calibration) -> str:
    """Return the JSON text of a calibration; equal calibrations give equal bytes."""
    return calibration.model_dump_json(indent=2) + "\n"


def read_calibration(path: Path, *, model_sha256: str | None = None) -> Calibration:
    """Read a calibration file.

    Parameters
    ----------
    path : Path
        JSON file written by `parafovea calibrate`.
    model_sha256 : str, optional
        Hash of the weights of the model whose scores are calibrated. A calibration without a model
        applies to any.

    Returns
    -------
    Calibration
        The calibration.

    Raises
    ------
    CalibrationError
        If the file is missing, is not a calibration, or belongs to another model.
    """
    try:
        text = read_text(path, "a calibration", error=CalibrationError)
    except FileNotFoundError as error:
        raise CalibrationError(
            f"{path} does not exist: write it with `parafovea calibrate`, or remove the triage"
        ) from error
    try:
        fix = "write it with `parafovea calibrate`"
        values = json_values(text, path, error=CalibrationError, fix=fix)
        calibration = Calibration.model_validate(values)
    except ValidationError as error:
        raise CalibrationError(
            f"{path} is not a calibration ({first_problem(error)}): write it with "
            "`parafovea calibrate`"
        ) from error
    owner = calibration.model
    if owner is not None and model_sha256 is not None and owner.weights_sha256 != model_sha256:
        raise CalibrationError(
            f"{path} belongs to the model {owner.name!r} with weights {owner.weights_sha256}, but "
            f"the scores come from weights {model_sha256}: fit a calibration to this model's scores"
        )
    return calibration


def risk_category(score: float, limits: Mapping[str, float]) -> str:
    """Return the risk category of a calibrated score.

    Parameters
    ----------
    score : float
        Calibrated score in [0, 1].
    limits : mapping of str to float
        Lower limit of each category, ascending from 0, such as
        ``{"low": 0, "intermediate": 0.3, "high": 0.7}``; limits are inclusive.

    Returns
    -------
    str
        The highest category whose limit is at or below the score.

    Raises
    ------
    CalibrationError
        If the limits do not increase from 0 to at most 1, or the score is outside of [0, 1].
    """
    begins = list(limits.values())
    rising = all(a < b for a, b in itertools.pairwise(begins))
    if not begins or begins[0] != 0 or not rising or not all(0 <= b <= 1 for b in begins):
        raise CalibrationError(
            f"risk limits {dict(limits)} must start at 0, increase, and be at most 1: for example "
            "low: 0, intermediate: 0.3, high: 0.7"
        )
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise CalibrationError(
            f"score {score:g} is outside 0 to 1: risk categories are for calibrated scores"
        )
    return [name for name, begin in limits.items() if begin <= score][-1]
