"""Reading and validation of a sample's result tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from parafovea.errors import StoreError
from parafovea.report.units import counted

Status = Literal["passed", "failed", "undefined", "unlimited"]

_OBJECT_TYPES = {
    "id": "int64",
    "class": "str",
    "voxels": "int64",
    "volume": "float64",
    "centroid_z": "float64",
    "centroid_y": "float64",
    "centroid_x": "float64",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A line of a quality table.

    Parameters
    ----------
    name : str
        Such as "iou.mitochondrion".
    value : float or None
        None if the metric is undefined.
    minimum, maximum : float or None
        Limits, if any.
    passed : bool or None
        None without a limit or a value.
    """

    name: str
    value: float | None
    minimum: float | None
    maximum: float | None
    passed: bool | None

    @property
    def limited(self) -> bool:
        """Whether the metric has a limit."""
        return self.minimum is not None or self.maximum is not None

    @property
    def status(self) -> Status:
        """Whether the limit is met."""
        if not self.limited:
            return "unlimited"
        if self.value is None:
            return "undefined"
        return "passed" if self.passed else "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Numbers of a sample's limits that are met, missed or undefined."""

    met: int
    missed: int
    undefined: int

    @property
    def limits(self) -> int:
        """Number of metrics with a limit."""
        return self.met + self.missed + self.undefined

    @property
    def status(self) -> Status:
        """The worst status of the limits."""
        if self.missed:
            return "failed"
        if self.undefined:
            return "undefined"
        return "passed" if self.met else "unlimited"

    def __str__(self) -> str:
        if not self.limits:
            return "no limits in the config"
        text = f"{self.met} of {counted(self.limits, 'limit')} of the config met"
        return f"{text}, {self.undefined} not judged" if self.undefined else text


def verdict(metrics: Sequence[Metric]) -> Verdict:
    """Return the numbers of limits that are met, missed and undefined."""
    states = [metric.status for metric in metrics]
    return Verdict(states.count("passed"), states.count("failed"), states.count("undefined"))


def read_metrics(path: Path) -> tuple[Metric, ...]:
    """Return the lines of a quality table.

    Parameters
    ----------
    path : Path
        Tab-separated, with the columns metric, value, minimum, maximum, passed.

    Returns
    -------
    tuple of Metric
        In the table's order.

    Raises
    ------
    StoreError
        If the table is missing, lacks a column, or has text in place of a number.
    """
    table = _read_table(path, {}, ["metric", "value", "minimum", "maximum", "passed"])
    metrics = []
    for row in table.astype(str).to_dict("records"):
        value, low, high = (
            _number(row[key], path, row["metric"]) for key in ("value", "minimum", "maximum")
        )
        word = row["passed"].strip().lower()
        passed = None if word in ("", "none", "nan") else word in ("true", "1", "yes", "passed")
        metrics.append(Metric(row["metric"], value, low, high, passed))
    return tuple(metrics)


def read_objects(path: Path) -> pd.DataFrame:
    """Return an object table.

    Parameters
    ----------
    path : Path
        Tab-separated, with at least the columns id, class, voxels, volume (cubic unit) and
        centroid_z, centroid_y, centroid_x (unit).

    Returns
    -------
    DataFrame
        A row for each object, possibly none.

    Raises
    ------
    StoreError
        If the table is missing or damaged.
    """
    return _read_table(path, _OBJECT_TYPES, list(_OBJECT_TYPES))


def read_quality(path: Path) -> dict[str, Any]:
    """Return the content of a quality.json, or raise `StoreError` if it is invalid."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read as JSON ({error}): run its stage again") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} has no `metrics` mapping: run its stage again")
    return content


def _read_table(path: Path, types: dict[str, str], columns: list[str]) -> pd.DataFrame:
    dtype: Any = types or str
    try:
        # A class may be called "NA", so that no text is read as a missing value.
        table = pd.read_csv(path, sep="\t", dtype=dtype, na_filter=False)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read as a table ({error}): delete it and run its stage again"
        ) from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise StoreError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has "
            f"{', '.join(map(str, table.columns))}: delete it and run its stage again"
        )
    return table


def _number(text: str, path: Path, metric: str) -> float | None:
    if text.strip().lower() in ("", "none", "nan"):
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise StoreError(
            f"{path}: {text!r} in the line of {metric!r} is not a number: run its stage again"
        ) from error
    return value if math.isfinite(value) else None
