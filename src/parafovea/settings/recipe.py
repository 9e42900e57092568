"""Description of a model: the content of `model.json` and of a training recipe.

Without torch, since the workflow imports this module when it plans jobs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue

from parafovea.errors import shown
from parafovea.geometry.grid import LARGEST_SHAPE, LARGEST_SPACING, METRES, SMALLEST_SPACING
from parafovea.kinds import Kind, kind_named, kinds
from parafovea.runtime.names import name_problem

#: Most channels of a network's first level, and of its inputs.
MOST_CHANNELS = 1 << 16

PositiveFloat = Annotated[float, Field(gt=0)]


def _countable(number: int) -> int:
    if number > LARGEST_SHAPE:
        raise ValueError(f"a count must be at most {LARGEST_SHAPE}")
    return number


PositiveInt = Annotated[int, Field(ge=1), AfterValidator(_countable)]


def _channels(number: int) -> int:
    if number > MOST_CHANNELS:
        raise ValueError(f"a network has at most {MOST_CHANNELS} channels")
    return number


Channels = Annotated[PositiveInt, AfterValidator(_channels)]


def _voxel_size(size: float) -> float:
    if not SMALLEST_SPACING <= size <= LARGEST_SPACING:
        raise ValueError(
            f"a voxel size must be from {SMALLEST_SPACING:g} to {LARGEST_SPACING:g}: use another "
            "unit"
        )
    return size


VoxelSize = Annotated[PositiveFloat, AfterValidator(_voxel_size)]
SpacingTuple = tuple[VoxelSize, VoxelSize, VoxelSize]
ShapeTuple = tuple[PositiveInt, PositiveInt, PositiveInt]


Activation = Literal["softmax", "sigmoid", "residual"]
Condition = Literal["month", "biome"]
Alignment = Literal["registered", "concentric"]


def _known_kind(name: str) -> str:
    if name not in kinds():
        raise ValueError(f"kind {name!r} is not known: kinds are {', '.join(kinds())}")
    return name


def _list_kinds(schema: JsonSchemaValue) -> None:
    schema["enum"] = list(kinds())


#: The name of one of the kinds of task.
KindName = Annotated[str, AfterValidator(_known_kind), Field(json_schema_extra=_list_kinds)]

#: The kind of a task or of a model that names none.
DEFAULT_KIND = next(iter(kinds()))


class Strict(BaseModel):
    """Base of settings: immutable; unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Normalization(Strict):
    """Mapping from source values to the network's input, one for the whole sample."""

    method: Literal["percentile", "window", "none"] = Field(
        "percentile",
        description="percentile: `low` and `high` are percentiles of the sample's voxels; "
        "window: they are source values; none: values are unchanged.",
    )
    low: float = Field(0.5, description="Maps to 0.")
    high: float = Field(99.5, description="Maps to 1.")
    clip: bool = Field(True, description="Clip values to [0, 1].")

    @model_validator(mode="after")
    def _ordered(self) -> Normalization:
        if self.method != "none" and self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be smaller than high ({self.high})")
        if self.method == "percentile" and not (self.low >= 0 and self.high <= 100):
            raise ValueError(f"percentiles {self.low} and {self.high} must be between 0 and 100")
        return self


class BackboneSpec(Strict):
    """A feature extractor: its name, revision and arguments."""

    name: Literal["raw", "filterbank", "huggingface", "dinov3", "prithvi"] = Field(
        "filterbank", description="dinov3: huggingface, for a DINOv3 transformer."
    )
    revision: str | None = Field(None, description="Revision on the hub, for huggingface.")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the backbone, by name."
    )

    @property
    def extra(self) -> str:
        """Extra of parafovea with the packages that it needs; "" if the core is enough."""
        return "dinov3" if self.name in ("huggingface", "dinov3") else ""


class ContextSpec(Strict):
    """The context view: coarser voxels, with its own backbone."""

    spacing: SpacingTuple = Field(description="Voxel size of the context view along z, y, x.")
    alignment: Alignment = Field(
        "registered",
        description="registered: context is sampled at the window's voxels; concentric: it has "
        "the window's centre and number of voxels at its own spacing (imported models).",
    )
    backbone: BackboneSpec = BackboneSpec()


class NetworkSpec(Strict):
    """The FusedUNet's architecture."""

    dimensions: Literal[2, 3] = Field(3, description="2: every z slice is independent.")
    base_channels: Channels = 16
    max_channels: Channels | None = Field(
        None, description="Channels double at each level up to this maximum; unlimited when null."
    )
    fusion: Literal["attention", "concat", "none"] = "attention"
    learned_upsampling: Literal[2, 4, 8] | None = Field(
        None, description="Factor of learned upsampling; imported models only."
    )
    output: Literal["labels", "affinities", "affinities_lsds"] = Field(
        "labels", description="Meaning of the scores; only imported models have other than labels."
    )
    conditions: tuple[Condition, ...] = Field(
        (),
        description="Metadata of a tile or mosaic (`month`, `biome`) that scale and shift the "
        "channels of every encoder level (FiLM). 2 dimensions only.",
    )


class Overrides(Strict):
    """Properties of a model that a task overrides."""

    spacing: SpacingTuple | None = Field(
        None, description="Voxel size of the local view; the model's own when null."
    )
    normalization: Normalization | None = Field(
        None, description="Normalization of the source; the model's own when null."
    )

    @property
    def given(self) -> dict[str, Any]:
        """The overridden properties, by name."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in named.items() if value is not None}


class Recipe(Strict):
    """Everything about a model except its weights: enough to prepare its input and to train it."""

    kind: KindName = Field(
        DEFAULT_KIND,
        description="; ".join(f"{each.name}: {each.scores}" for each in kinds().values()) + ".",
    )
    bands: tuple[str, ...] = Field(
        (), description="Names of the input's channels, such as B02; empty for one unnamed channel."
    )
    residual: bool = Field(
        True,
        description="refinement: add the network's scores to the input bands of the same names, "
        "and clip the sum to 0 to 1; false: the output is the sigmoid of the scores.",
    )
    unit: str = Field("nanometer", description="Unit of all spacings of the model.")
    spacing: SpacingTuple = Field(description="Voxel size of the local view along z, y, x.")
    normalization: Normalization = Normalization()
    raw_input: bool = Field(
        True,
        description="Use the normalized voxels at full resolution as input beside the features.",
    )
    backbone: BackboneSpec = BackboneSpec()
    context: ContextSpec | None = None
    network: NetworkSpec = NetworkSpec()
    classes: tuple[str, ...] = Field(
        min_length=1,
        description="; ".join(f"{each.name}: {each.classes}" for each in kinds().values()) + ".",
    )
    window: ShapeTuple = Field(description="Voxels of a training window along z, y, x.")

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, unit: str) -> str:
        if unit not in METRES:
            raise ValueError(f"unknown unit {unit!r}: use one of {', '.join(METRES)}")
        return unit

    @field_validator("classes", "bands")
    @classmethod
    def _unique(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"names must be unique: {shown(', '.join(names))}")
        for name in names:
            problem = name_problem(name)
            if problem is not None:
                raise ValueError(problem)
        return names

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        check_window(self.window, self.network.dimensions)
        if self.network.output != "labels" and not self.exclusive:
            raise ValueError(
                f"a {self.kind} cannot output {self.network.output}: set network.output: labels"
            )
        self._task.check_recipe(self)
        if self.network.conditions and self.network.dimensions != 2:
            raise ValueError(
                f"conditions ({', '.join(self.network.conditions)}) are for tiles and mosaics, "
                "which have 2 dimensions: set network.dimensions: 2, or remove them"
            )
        if (self.context is None) != (self.network.fusion == "none"):
            raise ValueError(
                f"fusion is {self.network.fusion!r}, but context is "
                f"{'missing' if self.context is None else 'given'}: give a context for attention "
                "and concat, and none for fusion none"
            )
        if self.context_ratio is not None and min(self.context_ratio) < 1:
            raise ValueError(
                "concentric context must not be finer than the local view, but the ratio of their "
                f"spacings is {self.context_ratio} along z, y, x: use a coarser context"
            )
        return self

    @property
    def _task(self) -> Kind:
        return kind_named(self.kind)

    @property
    def exclusive(self) -> bool:
        """Whether a voxel is of exactly one class, the first of which is the background."""
        return self._task.exclusive

    @property
    def activation(self) -> Activation:
        """Activation of the scores: softmax if every voxel has exactly one class."""
        if self._task.residual and self.residual:
            return "residual"
        return "softmax" if self.exclusive and self.network.output == "labels" else "sigmoid"

    @property
    def output_bands(self) -> tuple[str, ...]:
        """Names of the bands that the output is of; empty where it is of classes."""
        return self.classes if self._task.banded else ()

    @property
    def skips_empty(self) -> bool:
        """Whether windows in which a scan shows no body may be left out, as predicted 0."""
        return self._task.skips_empty

    @property
    def channels(self) -> int:
        """Number of input channels: its bands, or one unnamed channel."""
        return max(1, len(self.bands))

    @property
    def base(self) -> tuple[int, ...]:
        """Indices of the input bands that a residual is added to; empty without a residual."""
        if self.activation != "residual":
            return ()
        return tuple(self.bands.index(name) for name in self.classes)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the labels 1, 2, ... of a truth: the classes without the background."""
        return self.classes[1:] if self.exclusive else self.classes

    @property
    def is_ct(self) -> bool:
        """Whether its volumes are CT scans, in Hounsfield units: bodies, in millimetres."""
        return self.skips_empty and self.unit == "millimeter"

    @property
    def context_ratio(self) -> SpacingTuple | None:
        """Context spacing over local spacing along z, y, x; None unless context is concentric."""
        if self.context is None or self.context.alignment != "concentric":
            return None
        z, y, x = (c / s for c, s in zip(self.context.spacing, self.spacing, strict=True))
        return z, y, x


class ModelSpec(Recipe):
    """The content of `model.json`: a recipe, and the result of training."""

    format: Literal[1] = 1
    name: str = Field(min_length=1)
    input_channels: Channels = Field(description="Channels of the local input, raw included.")
    context_channels: int = Field(
        0, ge=0, le=MOST_CHANNELS, description="Channels of the context features."
    )
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    training: dict[str, Any] = Field(
        default_factory=dict, description="Samples, steps, seed, scores and version of training."
    )

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        problem = name_problem(name)
        if problem is not None:
            raise ValueError(problem)
        return name


def check_window(window: tuple[int, ...], dimensions: int) -> None:
    """Raise `ValueError` if a window does not fit the four poolings of the network."""
    pooled = window if dimensions == 3 else window[1:]
    if any(n % 16 for n in pooled):
        raise ValueError(
            f"window {window} must be a multiple of 16 along {'z, y, x'[-3 * dimensions + 2 :]}"
        )
    if dimensions == 2 and window[0] != 1:
        raise ValueError(f"window {window} must be 1 along z, since the network has 2 dimensions")
