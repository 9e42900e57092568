"""Quality limits of a task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from parafovea.settings.field_types import Strict


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


class ScoringSettings(Strict):
    """Rule by which the detections of a scan are scored against its truth."""

    rule: Literal["luna16", "picai"] = Field(
        "luna16",
        description="luna16: a detection hits a nodule if its distance to the centre is below the "
        "radius (sensitivity, FROC, CPM). picai: the region of a detection matches a lesion of a "
        "mask by their overlap (AP, auroc and score of PI-CAI); the truth has to be a mask.",
    )
    min_overlap: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="For picai: minimum intersection over union of a region and its lesion."
    )

    @property
    def needs_masks(self) -> bool:
        """Whether a truth cannot be a table of findings."""
        return self.rule == "picai"
