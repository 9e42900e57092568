"""Global normalization: the value map of a whole source, from its statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import VoxelError
from parafovea.preprocess.source_statistics import Statistics
from parafovea.settings.recipe import Normalization

NonFinite = Literal["error"] | float


@dataclass(frozen=True)
class ValueMap:
    """A linear map from source values to the network's input.

    Parameters
    ----------
    low, high : float
        Source values that become 0 and 1.
    clip : bool
        Clip results to [0, 1].
    fill : float or None
        Source value that replaces NaN and infinity.
    keep_zero : bool
        Source values of 0 become 0, whatever `low` is.

    Raises
    ------
    VoxelError
        If the difference of `low` and `high` is not a positive number of float32.
    """

    low: float = 0.0
    high: float = 1.0
    clip: bool = False
    fill: float | None = None
    keep_zero: bool = False

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            span = float(np.float32(self.high - self.low))
        if not 0 < span < math.inf:
            raise VoxelError(
                f"values from {self.low:g} to {self.high:g} cannot be normalized in float32: "
                "their difference must be positive and at most 3.4e38"
            )

    def finite(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the source values with `fill` in place of NaN and infinity."""
        if self.fill is None:
            return values
        filled: NDArray[Any] = np.nan_to_num(
            values, nan=self.fill, posinf=self.fill, neginf=self.fill
        )
        return filled

    def check_half(self, statistics: Statistics) -> None:
        """Raise `VoxelError` if normalized values would overflow float16."""
        extremes = [statistics.minimum, statistics.maximum]
        if self.fill is not None and statistics.nonfinite:
            extremes = [min(*extremes, self.fill), max(*extremes, self.fill)]
        with np.errstate(over="ignore"):
            reached = np.abs(self(np.asarray(extremes))).max()
        if not reached <= np.finfo(np.float16).max:
            raise VoxelError(
                f"source values from {extremes[0]:g} to {extremes[1]:g} reach {reached:g} after "
                f"normalization, above the float16 maximum of {np.finfo(np.float16).max:g}: "
                "override the model's normalization with method: window, or set clip: true"
            )

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return the normalized values, float32, in the shape of `values`."""
        if is_wide(np.asarray(values).dtype):
            shifted = self.above_low(values)
        else:
            shifted = np.asarray(values, dtype=np.float32) - np.float32(self.low)
        scaled = self.of_shifted(shifted)
        if self.keep_zero:
            scaled[np.asarray(values) == 0] = 0
        return scaled

    def above_low(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return how far values lie above `low`, float32: no level is lost in a large offset."""
        above: NDArray[np.float32] = (np.asarray(values, np.float64) - self.low).astype(np.float32)
        return above

    def of_shifted(self, above: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the normalized values of what lies `above` low."""
        scaled: NDArray[np.float32] = above / np.float32(self.high - self.low)
        return np.clip(scaled, 0, 1) if self.clip else scaled


def percentiles_of(normalization: Normalization) -> tuple[float, ...]:
    """Return the percentiles that a normalization asks for; none for a fixed one."""
    is_asked = normalization.method == "percentile"
    return (normalization.low, normalization.high) if is_asked else ()


def is_spread(normalization: Normalization) -> bool:
    """Return whether a normalization asks for mean and deviation."""
    return normalization.method == "zscore"


def is_wide(dtype: np.dtype[Any]) -> bool:
    """Return whether values of a type lose digits as float32, in which volumes are resampled."""
    return dtype.itemsize > (4 if dtype.kind == "f" else 2)


def value_map(
    statistics: Statistics, normalization: Normalization, *, nonfinite: NonFinite = "error"
) -> ValueMap:
    """Return the map from source values to normalized values.

    Parameters
    ----------
    statistics : Statistics
        Statistics of the whole source.
    normalization : Normalization
        Normalization of the model.
    nonfinite : "error" or float
        Handling of NaN and infinite voxels: an error, or the source value that replaces them.

    Raises
    ------
    VoxelError
        If there are non-finite voxels and `nonfinite` is "error", or the percentiles are equal, or
        all voxels.
    """
    total = int(statistics.counts.sum()) + statistics.nonfinite
    if statistics.nonfinite and nonfinite == "error":
        raise VoxelError(
            f"{statistics.nonfinite} of {total} voxels are NaN or infinite, as those that "
            "the file states as missing (_FillValue, nodata) are read: correct the file, or set "
            "input.nonfinite of the task to the source value that replaces them"
        )
    fill = None if nonfinite == "error" else float(nonfinite)
    if normalization.method == "zscore":
        return _standardized(statistics, nonzero=normalization.nonzero, fill=fill)
    if normalization.method != "percentile":
        return fixed_value_map(normalization, fill=fill)
    low, high = statistics.percentiles(normalization.low, normalization.high)
    if low >= high:
        raise VoxelError(
            f"the volume has no contrast: percentiles {normalization.low:g} and "
            f"{normalization.high:g} of the voxels are both {low:g} (range "
            f"{statistics.minimum:g} to {statistics.maximum:g}): check the file, or override the "
            "model's normalization with method: window"
        )
    return ValueMap(low, high, normalization.clip, fill)


def _standardized(statistics: Statistics, *, nonzero: bool, fill: float | None) -> ValueMap:
    """Return the map of the mean to 0 and of the deviation to 1."""
    mean, deviation = statistics.spread(nonzero=nonzero)
    if not deviation > 0:
        named = "voxels other than 0" if nonzero else "voxels"
        raise VoxelError(
            f"the volume has no contrast: its {named} have the deviation {deviation:g} (range "
            f"{statistics.minimum:g} to {statistics.maximum:g}): check the file, or override the "
            "model's normalization with method: window"
        )
    return ValueMap(mean, mean + deviation, clip=False, fill=fill, keep_zero=nonzero)


def fixed_value_map(normalization: Normalization, *, fill: float | None = None) -> ValueMap:
    """Return the value map of a normalization that needs no statistics.

    Parameters
    ----------
    normalization : Normalization
        Normalization with method "window" or "none".
    fill : float, optional
        Source value that replaces NaN and infinity.
    """
    if normalization.method == "none":
        return ValueMap(fill=fill)
    return ValueMap(normalization.low, normalization.high, normalization.clip, fill)
