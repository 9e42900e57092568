"""The choices of post-processing, as they stand in a task of the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from parafovea.errors import ConfigError
from parafovea.settings.recipe import PositiveFloat, Strict

Method = Literal["argmax", "threshold"]
Connectivity = Literal[6, 18, 26]
PeakMethod = Literal["local_maxima", "nms"]


class ClassSettings(Strict):
    """How the voxels of one class are cleaned and divided into objects."""

    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Least probability of the class, for the method `threshold`."
    )
    min_voxels: Annotated[int, Field(ge=0)] = Field(
        0, description="Objects of fewer voxels are removed."
    )
    fill_holes: bool = Field(
        False,
        description="Fill background that only this class encloses; what reaches the volume's "
        "border is no hole.",
    )
    split_distance: PositiveFloat | None = Field(
        None,
        description="Split touching objects whose centres are at least this far apart, in the "
        "model's unit of length; null splits nothing.",
    )
    instances: bool = Field(
        True, description="Number the objects of this class; false leaves it one region."
    )


class PostprocessSettings(Strict):
    """How probabilities become classes and objects."""

    method: Method = Field(
        "argmax",
        description="argmax: the most probable class; threshold: the most probable of the classes "
        "that reach their threshold.",
    )
    connectivity: Connectivity = Field(
        26, description="Neighbours of a voxel: over faces (6), edges (18) or corners (26)."
    )
    classes: dict[str, ClassSettings] = Field(
        default_factory=dict, description="Settings by class name; others have the defaults."
    )


class PeakSettings(Strict):
    """How peaks are found in a heatmap."""

    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Least value of the heatmap, for peaks and for their regions."
    )
    min_distance: Annotated[float, Field(ge=0)] = Field(
        10.0, description="Least distance between two peaks, in mm; the higher one stays."
    )
    method: PeakMethod = Field(
        "local_maxima",
        description="local_maxima: voxels without a higher neighbour; nms: the highest voxel, then "
        "the highest at least `min_distance` away from it, and so on.",
    )
    max_saddle: Annotated[float, Field(gt=0, le=1)] = Field(
        0.8,
        description="Two local maxima of one region stay apart where the heatmap between them "
        "falls below this share of the lower one; else they are one. 1 joins none.",
    )


class NmsSettings(Strict):
    """Non-maximum suppression: when two candidates are one."""

    enabled: bool = Field(True, description="Remove candidates that overlap a more confident one.")
    iou_threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3, description="Largest intersection over union of two candidates' spheres."
    )


class SizeFilterSettings(Strict):
    """Which sizes of candidates stay."""

    min_diameter: Annotated[float, Field(ge=0)] = Field(
        3.0, description="Smallest diameter in mm; a candidate of just this size stays."
    )
    max_diameter: PositiveFloat = Field(
        30.0, description="Largest diameter in mm; a candidate of just this size stays."
    )

    @model_validator(mode="after")
    def _ordered(self) -> SizeFilterSettings:
        if self.min_diameter > self.max_diameter:
            raise ValueError(
                f"min_diameter ({self.min_diameter:g}) must not be larger than max_diameter "
                f"({self.max_diameter:g})"
            )
        return self


class ConfidenceFilterSettings(Strict):
    """How sure a candidate must be."""

    min_confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3, description="Least confidence, the heatmap's value at the peak."
    )


class BodyFilterSettings(Strict):
    """Where candidates may lie."""

    enabled: bool = Field(
        True,
        description="Remove candidates whose centre lies outside of the body, as the scan itself "
        "shows it: table, wires, sheets. The summary of the detections counts them.",
    )


class DetectionSettings(Strict):
    """How a heatmap becomes detections."""

    peak_detection: PeakSettings = Field(
        default_factory=PeakSettings, description="Peaks of the heatmap."
    )
    nms: NmsSettings = Field(
        default_factory=NmsSettings, description="Non-maximum suppression of overlapping spheres."
    )
    size_filter: SizeFilterSettings = Field(
        default_factory=SizeFilterSettings, description="Limits of the diameter."
    )
    confidence_filter: ConfidenceFilterSettings = Field(
        default_factory=ConfidenceFilterSettings, description="Limit of the confidence."
    )
    body_filter: BodyFilterSettings = Field(
        default_factory=BodyFilterSettings, description="Limit of the place."
    )


class TriageSettings(Strict):
    """What the confidence of a detection says of its risk; nothing without a calibration."""

    calibration: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="JSON file of `parafovea calibrate`. Without it detections have no malignancy "
        "score and no risk category.",
    )
    limits: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={"low": 0.0, "intermediate": 0.3, "high": 0.7},
        min_length=1,
        description="Risk categories, each with the least malignancy score that belongs to it.",
    )

    @model_validator(mode="after")
    def _covering(self) -> TriageSettings:
        least = list(self.limits.values())
        if least[0] != 0 or least != sorted(set(least)):
            raise ValueError(
                f"limits {self.limits} must begin at 0 and rise, so that each score has one "
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
        Settings by class name; classes not named get the defaults.
    names : sequence of str
        Names of all classes; the first is the background.

    Returns
    -------
    tuple of ClassSettings
        One for each of `names[1:]`.

    Raises
    ------
    ConfigError
        If a name is not that of a class, or is that of the background.
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
