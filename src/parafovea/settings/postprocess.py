"""Post-processing settings of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from parafovea.errors import ConfigError
from parafovea.settings.field_types import PositiveFloat, Strict

Method = Literal["argmax", "threshold"]
Connectivity = Literal[6, 18, 26]
PeakMethod = Literal["local_maxima", "nms"]

#: File in the folder of a detector, written by `parafovea calibrate`, that maps the heights of its
#: peaks to confidences.
CONFIDENCE_FILE = "confidence.json"


class ClassSettings(Strict):
    """Cleaning of one class and its division into objects."""

    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Minimum probability of the class, for the method `threshold`."
    )
    min_voxels: Annotated[int, Field(ge=0)] = Field(
        0, description="Remove objects with fewer voxels."
    )
    fill_holes: bool = Field(
        False,
        description="Fill background enclosed by this class alone; background that touches the "
        "volume's border is not a hole.",
    )
    split_distance: PositiveFloat | None = Field(
        None,
        description="Split touching objects whose centres are at least this far apart, in the "
        "model's unit of length; null: no splitting.",
    )
    instances: bool = Field(True, description="Label the objects of this class individually.")


class PostprocessSettings(Strict):
    """Conversion of probabilities to classes and objects."""

    method: Method = Field(
        "argmax",
        description="argmax: the most probable class; threshold: the most probable of the classes "
        "that reach their threshold.",
    )
    connectivity: Connectivity = Field(
        26, description="Neighbours of a voxel: over faces (6), edges (18) or corners (26)."
    )
    classes: dict[str, ClassSettings] = Field(
        default_factory=dict, description="Settings by class name; other classes use the defaults."
    )


class PeakSettings(Strict):
    """Peak detection in a heatmap."""

    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5,
        description="Minimum value of the heatmap, for peaks and their regions; a region ends at "
        "half of its peak, where that is higher.",
    )
    min_distance: Annotated[float, Field(ge=0)] = Field(
        10.0, description="Minimum distance between two peaks, in mm; the higher one is kept."
    )
    method: PeakMethod = Field(
        "local_maxima",
        description="local_maxima: voxels without a higher neighbour; nms: the highest voxel, then "
        "the highest one at least `min_distance` away, and so on.",
    )
    max_saddle: Annotated[float, Field(gt=0, le=1)] = Field(
        0.8,
        description="Merge two local maxima of a region unless the heatmap between them falls "
        "below this share of the lower one. 1: merge none.",
    )


class NmsSettings(Strict):
    """Non-maximum suppression of overlapping candidates."""

    enabled: bool = Field(True, description="Remove candidates that overlap a more confident one.")
    iou_threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3, description="Maximum intersection over union of the spheres of two candidates."
    )


class SizeFilterSettings(Strict):
    """Filter of candidates by the diameter of a sphere of their volume in the scan."""

    min_diameter: Annotated[float, Field(ge=0)] = Field(
        3.0, description="Minimum diameter in mm, inclusive."
    )
    max_diameter: PositiveFloat = Field(30.0, description="Maximum diameter in mm, inclusive.")

    @model_validator(mode="after")
    def _ordered(self) -> SizeFilterSettings:
        if self.min_diameter > self.max_diameter:
            raise ValueError(
                f"min_diameter ({self.min_diameter:g}) must not be larger than max_diameter "
                f"({self.max_diameter:g})"
            )
        return self


class ConfidenceFilterSettings(Strict):
    """Filter of candidates by confidence."""

    min_confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3,
        description="Minimum confidence: the heatmap's value at the peak, or what the model's "
        "`confidence.json` makes of it.",
    )


class BodyFilterSettings(Strict):
    """Filter of candidates by location."""

    enabled: bool = Field(
        True,
        description="Remove candidates whose centre lies outside of the patient's body (table, "
        "wires, sheets). The summary of the detections states their number.",
    )


class DetectionSettings(Strict):
    """Conversion of a heatmap to detections."""

    peak_detection: PeakSettings = Field(
        default_factory=PeakSettings, description="Peak detection in the heatmap."
    )
    nms: NmsSettings = Field(
        default_factory=NmsSettings, description="Non-maximum suppression of overlapping spheres."
    )
    size_filter: SizeFilterSettings = Field(
        default_factory=SizeFilterSettings, description="Filter by diameter."
    )
    confidence_filter: ConfidenceFilterSettings = Field(
        default_factory=ConfidenceFilterSettings, description="Filter by confidence."
    )
    calibrated: bool = Field(
        True,
        description="Take confidences from the `confidence.json` of the model's folder, if it has "
        "one. `false`: from the heatmap alone, as a new calibration needs them.",
    )
    body_filter: BodyFilterSettings = Field(
        default_factory=BodyFilterSettings, description="Filter by location."
    )


class TriageSettings(Strict):
    """Risk triage of detections from calibrated confidences; requires a calibration."""

    calibration: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="JSON file written by `parafovea calibrate`. Without it, detections have no "
        "malignancy score and no risk category.",
    )
    limits: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={"low": 0.0, "intermediate": 0.3, "high": 0.7},
        min_length=1,
        description="Risk categories, each with its minimum malignancy score.",
    )

    @model_validator(mode="after")
    def _covering(self) -> TriageSettings:
        least = list(self.limits.values())
        if least[0] != 0 or least != sorted(set(least)):
            raise ValueError(
                f"limits {self.limits} must start at 0 and increase, so that each score has one "
                "category: for example {low: 0, intermediate: 0.3, high: 0.7}"
            )
        return self


def resolve_classes(
    settings: Mapping[str, ClassSettings], names: Sequence[str]
) -> tuple[ClassSettings, ...]:
    """Return the settings of every class but the background, in the order of the classes.

    Parameters
    ----------
    settings : mapping of str to ClassSettings
        Settings by class name; other classes get the defaults.
    names : sequence of str
        Names of all classes, the background first.

    Returns
    -------
    tuple of ClassSettings
        One for each of `names[1:]`.

    Raises
    ------
    ConfigError
        If a name is not a class, or is the background.
    """
    known = names[1:]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ConfigError(
            f"postprocess.classes names {', '.join(map(repr, unknown))}, but the model's classes "
            f"are {', '.join(known)} (and {names[0]!r}, the background, which has no settings): "
            "use one of these names"
        )
    return tuple(settings.get(name, ClassSettings()) for name in known)
