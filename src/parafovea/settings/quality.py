"""The limits that a result has to keep, as they stand in a task of the config."""

from __future__ import annotations

from pydantic import Field, model_validator

from parafovea.settings.recipe import Strict


class Limit(Strict):
    """The range in which a metric is acceptable, its ends included."""

    min: float | None = Field(None, description="Least acceptable value.", allow_inf_nan=False)
    max: float | None = Field(None, description="Largest acceptable value.", allow_inf_nan=False)

    @model_validator(mode="after")
    def _is_a_range(self) -> Limit:
        if self.min is None and self.max is None:
            raise ValueError("a limit needs a min, a max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) must not be larger than max ({self.max})")
        return self

    def holds(self, value: float) -> bool:
        """Return whether a value is in the range."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class QualitySettings(Strict):
    """The limits of the quality stage."""

    limits: dict[str, Limit] = Field(
        default_factory=dict,
        description="Acceptable range by metric, such as `iou.mitochondrion`, `voi.split` or "
        "`coverage.uncovered_voxels`.",
    )
