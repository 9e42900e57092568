"""Targets of the field for refined tiles, which are no limits of the workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Target:
    """Target range of a tile metric.

    Parameters
    ----------
    sign : {"<", ">", "≤"}
        Required relation of the value to the bound.
    bound : float
        Bound in the metric's unit.
    """

    sign: Literal["<", ">", "≤"]
    bound: float

    def met(self, value: float) -> bool:
        """Return whether a value meets the target."""
        if self.sign == "<":
            return value < self.bound
        return value > self.bound if self.sign == ">" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


#: Smallest sum of red and near infrared of a bright pixel. Errors of both are divided by it in the
#: NDVI, so that the index of a darker pixel, as of clear water, is mostly noise.
BRIGHT = 0.1

TARGETS: Mapping[str, Target] = {
    "ndvi_rmse": Target("<", 0.05),
    "ndvi_rmse_bright": Target("<", 0.05),
    "edge_correlation": Target(">", 0.90),
    "edge_displacement": Target("≤", 2),
}
