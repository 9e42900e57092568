"""From a detector's score to a calibrated probability, and from there to a category of risk.

A calibration is one JSON file: the method, its parameters, the model that it belongs to, and how
it was fitted.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from parafovea.errors import CalibrationError
from parafovea.settings.recipe import Strict

Array = np.ndarray[Any, Any]

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

#: Scores this near to 0 or 1 count as this, so that their logit is finite.
SMALLEST = 1e-7


def logit(probability: Array) -> Array:
    """Return log(p / (1 - p)), with p kept `SMALLEST` away from 0 and 1."""
    kept = np.clip(np.asarray(probability, float), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def sigmoid(value: Array) -> Array:
    """Return 1 / (1 + exp(-x)), for any size of x."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(value, float))))


class Temperature(Strict):
    """sigmoid(logit(p) / temperature) (Guo et al., ICML 2017, for two classes)."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def apply(self, probability: Array) -> Array:
        """Return calibrated probabilities."""
        return sigmoid(logit(probability) / self.temperature)


class Platt(Strict):
    """sigmoid(slope logit(p) + intercept) (Platt 1999, on the logit of the score)."""

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    intercept: Finite

    def apply(self, probability: Array) -> Array:
        """Return calibrated probabilities."""
        return sigmoid(self.slope * logit(probability) + self.intercept)


class Isotonic(Strict):
    """The rising steps of Zadrozny and Elkan (KDD 2002), linear between them, level outside."""

    score: tuple[Share, ...] = Field(min_length=1)
    calibrated: tuple[Share, ...]

    @model_validator(mode="after")
    def _rising(self) -> Isotonic:
        if len(self.score) != len(self.calibrated):
            raise ValueError(
                f"score has {len(self.score)} values and calibrated {len(self.calibrated)}"
            )
        if (np.diff(self.score) <= 0).any() or (np.diff(self.calibrated) < 0).any():
            raise ValueError("score must rise, and calibrated must not fall")
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
    """The model whose scores a calibration is for."""

    name: str
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Measures(Strict):
    """How well probabilities fit labels; see `parafovea.quality.detections.reliability`."""

    ece: Finite
    log_loss: Finite
    brier: Finite


class Fit(Strict):
    """What a calibration was fitted to, and what it did to it.

    `held_out` is each fifth of the candidates by a calibration of the others; `after` is the
    candidates that it was fitted to, and flatters it.
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
    """A map from scores to probabilities, with where it comes from.

    Parameters
    ----------
    method : str
        temperature, platt or isotonic.
    parameters : Temperature, Platt or Isotonic
        What was fitted.
    model : Owner or None
        The model whose scores it is for; None where nobody said.
    fit : Fit
        How it was fitted.
    version : str
        Of the package that fitted it.
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
            raise ValueError(_first_problem(error)) from error

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
                f"score {wrong[0]:g} lies outside of 0 to 1: calibrations are for probabilities"
            )
        return self.parameters.apply(scores)


def calibration_text(calibration: Calibration) -> str:
    """Return the content of a calibration's file; the same calibration, the same bytes."""
    return calibration.model_dump_json(indent=2) + "\n"


def read_calibration(path: Path, *, model_sha256: str | None = None) -> Calibration:
    """Read a calibration file.

    Parameters
    ----------
    path : Path
        JSON file of `parafovea calibrate`.
    model_sha256 : str, optional
        Hash of the weights of the model whose scores are to be calibrated. A calibration that
        names no model is taken for any.

    Returns
    -------
    Calibration
        Ready to be applied.

    Raises
    ------
    CalibrationError
        If the file is missing or no calibration, or belongs to another model.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
        calibration = Calibration.model_validate(content)
    except FileNotFoundError as error:
        raise CalibrationError(
            f"{path} is not there: write it by `parafovea calibrate`, or leave the triage out"
        ) from error
    except OSError as error:
        raise CalibrationError(f"{path} cannot be read ({error.strerror}): check it") from error
    except ValidationError as error:
        raise CalibrationError(
            f"{path} is no calibration ({_first_problem(error)}): write it by `parafovea calibrate`"
        ) from error
    except ValueError as error:
        raise CalibrationError(
            f"{path} is not JSON ({error}): write it by `parafovea calibrate`"
        ) from error
    owner = calibration.model
    if owner is not None and model_sha256 is not None and owner.weights_sha256 != model_sha256:
        raise CalibrationError(
            f"{path} belongs to the model {owner.name!r} with weights {owner.weights_sha256}, but "
            f"the scores come from weights {model_sha256}: fit a calibration to this model's scores"
        )
    return calibration


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def risk_category(score: float, limits: Mapping[str, float]) -> str:
    """Return the category of a calibrated score.

    Parameters
    ----------
    score : float
        In [0, 1].
    limits : mapping of str to float
        Where each category begins, from 0 up, such as
        ``{"low": 0, "intermediate": 0.3, "high": 0.7}``; a score at a limit is in the higher one.

    Returns
    -------
    str
        The highest category that begins at or below the score.

    Raises
    ------
    CalibrationError
        If the limits do not rise from 0 to at most 1, or the score is outside of [0, 1].
    """
    begins = list(limits.values())
    rising = all(a < b for a, b in itertools.pairwise(begins))
    if not begins or begins[0] != 0 or not rising or not all(0 <= b <= 1 for b in begins):
        raise CalibrationError(
            f"risk limits {dict(limits)} must rise from 0 and stay in 0 to 1: such as "
            "low: 0, intermediate: 0.3, high: 0.7"
        )
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise CalibrationError(f"score {score:g} lies outside of 0 to 1 and has no risk category")
    return [name for name, begin in limits.items() if begin <= score][-1]
