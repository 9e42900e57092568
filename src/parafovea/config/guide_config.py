"""The config of the lung nodule inference guide, read as a task of this package.

Each key of the guide becomes the setting that does the same here. Keys that mean nothing here are
said (`GuideSettings.notes`), all others are errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from parafovea.config.loading import read_document
from parafovea.config.messages import problems
from parafovea.config.schema import Settings
from parafovea.errors import ConfigError
from parafovea.geometry.symmetry import check_views
from parafovea.settings.field_types import (
    PositiveFloat,
    PositiveInt,
    ShapeTuple,
    SpacingTuple,
    Strict,
)
from parafovea.settings.inference import BlendingMode, Mode, check_stride
from parafovea.settings.postprocess import (
    ConfidenceFilterSettings,
    NmsSettings,
    PeakSettings,
    SizeFilterSettings,
)
from parafovea.settings.report import VisualizationSettings

#: The guide's names of the importance maps.
BLENDINGS: Mapping[str, BlendingMode] = {
    "gaussian": "gaussian",
    "linear": "linear",
    "average": "constant",
}

#: Views of test-time augmentation by number, where none are named: all mirrorings.
MIRRORINGS = (
    "flip_x",
    "flip_y",
    "flip_z",
    "flip_x+flip_y",
    "flip_x+flip_z",
    "flip_y+flip_z",
    "flip_x+flip_y+flip_z",
)

Text = Annotated[str, Field(min_length=1)]


class GuideModel(Strict):
    """Block `model`."""

    checkpoint: Text | None = None
    architecture: Text | None = None
    device: Text | None = None
    mixed_precision: bool | None = None


class GuideInput(Strict):
    """Block `input`."""

    spacing: SpacingTuple | None = None
    clip_range: tuple[float, float] | None = None
    normalize: bool = True
    normalization_method: Literal["minmax"] = "minmax"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.clip_range is not None:
            low, high = self.clip_range
            if low >= high:
                raise ValueError(f"clip_range [{low:g}, {high:g}] must increase")
            if not self.normalize:
                raise ValueError(
                    "normalize: false leaves values as they are, and clip_range would clip them: "
                    "remove one of them"
                )
        return self


class GuideBlending(Strict):
    """Block `inference.blending`."""

    method: Literal["gaussian", "linear", "average"] = "gaussian"
    sigma: PositiveFloat | None = None

    @model_validator(mode="after")
    def _applies(self) -> Self:
        if self.sigma is not None and self.method != "gaussian":
            raise ValueError(
                f"sigma ({self.sigma:g}) is the width of method gaussian, not of {self.method}: "
                "remove it"
            )
        return self


class GuideAugmentation(Strict):
    """Block `inference.tta`."""

    enabled: bool = False
    num_augmentations: PositiveInt | None = None
    augmentations: tuple[str, ...] | None = None

    @field_validator("augmentations")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        check_views(names or ())
        return names

    @model_validator(mode="after")
    def _enough(self) -> Self:
        count = self.num_augmentations
        if count is None:
            return self
        if self.augmentations is not None and count < len(self.augmentations):
            raise ValueError(
                f"num_augmentations is {count}, but augmentations names "
                f"{len(self.augmentations)}: remove some of them"
            )
        if self.augmentations is None and count > len(MIRRORINGS) + 1:
            raise ValueError(
                f"num_augmentations is {count}, but there are {len(MIRRORINGS) + 1} mirrorings, "
                "the original included: name the views in augmentations"
            )
        return self

    @property
    def views(self) -> tuple[str, ...]:
        """Views that are averaged with the original."""
        if not self.enabled:
            return ()
        if self.augmentations is not None:
            return self.augmentations
        return MIRRORINGS[: (self.num_augmentations or len(MIRRORINGS) + 1) - 1]


class GuideInference(Strict):
    """Block `inference`."""

    mode: Mode = "sliding_window"
    patch_size: ShapeTuple | None = None
    stride: ShapeTuple | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    batch_size: PositiveInt = 1
    blending: GuideBlending = GuideBlending()
    tta: GuideAugmentation = GuideAugmentation()
    device: Text | None = None
    mixed_precision: bool | None = None
    cudnn_benchmark: bool | None = None
    num_workers: Annotated[int, Field(ge=0)] | None = None
    prefetch_factor: PositiveInt | None = None
    clear_cache: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mode == "whole_volume":
            given = [n for n in ("patch_size", "stride", "overlap") if getattr(self, n) is not None]
            if given:
                raise ValueError(
                    f"mode whole_volume has no patches, but {' and '.join(given)} is given: remove "
                    "it, or use mode: sliding_window"
                )
        if self.stride is None:
            return self
        if self.patch_size is not None:
            check_stride(self.patch_size, self.stride)
        if self.overlap is not None:
            share = 1 - self.overlap
            wanted = [max(1, round(n * share)) for n in self.patch_size or ()]
            if wanted != list(self.stride):
                means = f"means a stride of {wanted}" if wanted else "needs a patch_size"
                raise ValueError(
                    f"overlap {self.overlap:g} {means}, but stride is {list(self.stride)}: remove "
                    "one of them"
                )
        return self

    def settings(self) -> dict[str, Any]:
        """Return the block `inference` of a task, without its precision."""
        values: dict[str, Any] = {
            "mode": self.mode,
            "blending": BLENDINGS[self.blending.method],
            "sigma": self.blending.sigma,
            "batch_size": self.batch_size,
            "tta": self.tta.views,
        }
        if self.mode == "sliding_window":
            if self.patch_size is not None:
                values["window"] = self.patch_size
            if self.stride is not None:
                values["stride"] = self.stride
            elif self.overlap is not None:
                values["overlap"] = self.overlap
        return values


class GuidePostProcessing(Strict):
    """Block `post_processing`, whose blocks have the keys of this package's own."""

    peak_detection: PeakSettings = PeakSettings()
    nms: NmsSettings = NmsSettings()
    size_filter: SizeFilterSettings = SizeFilterSettings()
    confidence_filter: ConfidenceFilterSettings = ConfidenceFilterSettings()


class GuideFormats(Strict):
    """Block `output.formats`."""

    detections: Literal["json", "csv", "both"] = "both"
    heatmap: Literal["nifti", "numpy"] = "nifti"


class GuideOutput(Strict):
    """Block `output`."""

    save_heatmap: bool = True
    save_detections: bool = True
    save_visualization: bool = True
    save_report: bool = True
    formats: GuideFormats = GuideFormats()


class GuideVisualization(VisualizationSettings):
    """Block `visualization`."""

    save_3d: bool = True


class GuideConfig(Strict):
    """The guide's config."""

    model: GuideModel = GuideModel()
    input: GuideInput = GuideInput()
    inference: GuideInference = GuideInference()
    post_processing: GuidePostProcessing = GuidePostProcessing()
    output: GuideOutput = GuideOutput()
    visualization: GuideVisualization = GuideVisualization()

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for name in ("device", "mixed_precision"):
            first, second = getattr(self.model, name), getattr(self.inference, name)
            if first is not None and second is not None and first != second:
                raise ValueError(
                    f"model.{name} is {first} and inference.{name} is {second}: remove one of them"
                )
        return self


@dataclass(frozen=True, slots=True)
class GuideSettings:
    """What a config of the guide means here.

    Parameters
    ----------
    settings : Settings
        A config with one task of kind `detection`.
    task : str
        Name of the task.
    device : str or None
        Device that the config names.
    notes : tuple of str
        What is without effect here, each with its key and the reason.
    """

    settings: Settings
    task: str
    device: str | None
    notes: tuple[str, ...]


def read_guide_config(
    file: str | Path | None, *, checkpoint: str | Path | None = None, task: str = "nodules"
) -> GuideSettings:
    """Read a config of the guide.

    Parameters
    ----------
    file : str, Path or None
        YAML file; None for the defaults.
    checkpoint : str or Path, optional
        Model folder, instead of `model.checkpoint`.
    task : str
        Name for the task.

    Returns
    -------
    GuideSettings
        The same as settings of this package.

    Raises
    ------
    ConfigError
        If the file does not exist or is not YAML, a key is unknown or a value invalid, with the
        line and a suggestion; or if no model folder is given.
    """
    where = [] if file is None else [Path(file)]
    values = {} if file is None else read_document(Path(file))
    try:
        guide = GuideConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n  ".join(problems(error, GuideConfig, values, where))) from error
    stated = guide.model.checkpoint
    model = stated if checkpoint is None else str(checkpoint)
    if model is None:
        raise ConfigError(
            f"{file or 'the config'} names no model: set model.checkpoint to a model folder"
        )
    if Path(model).is_file():
        raise ConfigError(
            f"checkpoint {model} is a file, and a model is a folder here: convert it with "
            "`parafovea import-model`, and give the folder that this writes"
        )
    notes = _notes(guide)
    if stated is not None and Path(stated) != Path(model):
        notes = (f"model.checkpoint ({stated}) is replaced by {model}", *notes)
    try:
        settings = Settings.model_validate({"tasks": {task: _task(guide, model)}})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{file or 'the config'}: {reason}") from error
    return GuideSettings(settings, task, guide.model.device or guide.inference.device, notes)


def _task(guide: GuideConfig, model: str) -> dict[str, Any]:
    """Return the task that a config of the guide describes."""
    inference = guide.inference.settings()
    mixed = (guide.model.mixed_precision, guide.inference.mixed_precision)
    inference["precision"] = "float32" if False in mixed else "auto"
    overrides: dict[str, Any] = {"spacing": guide.input.spacing}
    if guide.input.clip_range is not None:
        low, high = guide.input.clip_range
        overrides["normalization"] = {"method": "window", "low": low, "high": high}
    elif not guide.input.normalize:
        overrides["normalization"] = {"method": "none"}
    shown = guide.visualization.model_dump()
    del shown["save_3d"]
    return {
        "kind": "detection",
        "model": model,
        "overrides": overrides,
        "inference": inference,
        "detection": guide.post_processing.model_dump(),
        "visualization": shown,
    }


def _notes(guide: GuideConfig) -> tuple[str, ...]:
    """Return what a config says that has no effect here."""
    inference, output = guide.inference, guide.output
    said = {
        "model.architecture": (
            guide.model.architecture is not None,
            "the model folder says which network it holds",
        ),
        "inference.cudnn_benchmark": (
            inference.cudnn_benchmark is not None,
            "results are the same in each run",
        ),
        "inference.num_workers": (
            inference.num_workers is not None,
            "windows are read ahead in one thread; scans in parallel are --num-workers",
        ),
        "inference.prefetch_factor": (
            inference.prefetch_factor is not None,
            "windows are read ahead by themselves",
        ),
        "inference.clear_cache": (
            inference.clear_cache is not None,
            "memory is bounded, and a batch that does not fit is halved",
        ),
        "output.save_heatmap": (not output.save_heatmap, "heatmap.nii.gz is always written"),
        "output.save_detections": (
            not output.save_detections,
            "detections.json and detections.csv are always written",
        ),
        "output.save_visualization": (
            not output.save_visualization,
            "visualization.png is always written",
        ),
        "output.save_report": (not output.save_report, "report.pdf is always written"),
        "output.formats.detections": (
            output.formats.detections != "both",
            "JSON and CSV are both written",
        ),
        "output.formats.heatmap": (
            output.formats.heatmap != "nifti",
            "the heatmap is written as NIfTI; for NumPy, use InferencePipeline.save_heatmap",
        ),
        "visualization.save_3d": (
            not guide.visualization.save_3d,
            "3d_rendering.html is always written",
        ),
    }
    return tuple(f"{key} has no effect: {why}" for key, (given, why) in said.items() if given)
