"""Quality limits of a task."""

from __future__ import annotations

from pydantic import Field, model_validator

from parafovea.settings.recipe import Strict


class Limit(Strict):
    """The acceptable range of a metric, ends included."""

    min: float | None = Field(None, description="Minimum acceptable value.")
    max: float | None = Field(None, description="Maximum acceptable value.")

    @model_validator(mode="after")
    def _is_a_range(self) -> Limit:
        if self.min is None and self.max is None:
            raise ValueError("a limit needs a min, a max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) must not be larger than max ({self.max})")
        return self

    def holds(self, value: float) -> bool:
        """Return whether a value lies in the range."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class QualitySettings(Strict):
    """Quality limits of results."""

    limits: dict[str, Limit] = Field(
        default_factory=dict,
        description="Acceptable range by metric, such as `iou.mitochondrion`, `voi.split` or "
        "`coverage.uncovered_voxels`.",
    )
