"""What a model is, as data: the content of `model.json` and of a training recipe.

No torch here: the workflow reads these while it plans its jobs.
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

from parafovea.geometry.grid import METRES
from parafovea.kinds import Kind, kind_named, kinds

PositiveFloat = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]
SpacingTuple = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
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
    """A model that refuses keys it does not know and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Normalization(Strict):
    """How source values become the network's input; global to the sample."""

    method: Literal["percentile", "window", "none"] = Field(
        "percentile",
        description="percentile: `low` and `high` are percentiles of the sample's voxels; "
        "window: they are source values; none: values pass unchanged.",
    )
    low: float = Field(0.5, description="Becomes 0.")
    high: float = Field(99.5, description="Becomes 1.")
    clip: bool = Field(True, description="Cut values to [0, 1].")

    @model_validator(mode="after")
    def _ordered(self) -> Normalization:
        if self.method != "none" and self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be smaller than high ({self.high})")
        if self.method == "percentile" and not (self.low >= 0 and self.high <= 100):
            raise ValueError(f"percentiles {self.low} and {self.high} must lie in 0 to 100")
        return self


class BackboneSpec(Strict):
    """A feature extractor: its name, its revision, and its own arguments."""

    name: Literal["raw", "filterbank", "dinov3"] = "filterbank"
    revision: str | None = Field(None, description="Revision on the hub, for dinov3.")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the backbone, by name."
    )


class ContextSpec(Strict):
    """The wide view: coarser voxels, seen by a backbone of its own."""

    spacing: SpacingTuple = Field(description="Voxel size of the wide view along z, y, x.")
    alignment: Alignment = Field(
        "registered",
        description="registered: context is sampled where the window is; concentric: it has the "
        "window's centre and number of voxels, of its own spacing (imported models).",
    )
    backbone: BackboneSpec = BackboneSpec()


class NetworkSpec(Strict):
    """The FusedUNet's architecture."""

    dimensions: Literal[2, 3] = Field(3, description="2: every z slice by itself.")
    base_channels: PositiveInt = 16
    max_channels: PositiveInt | None = Field(
        None, description="Widths double at each level up to this; unlimited when null."
    )
    fusion: Literal["attention", "concat", "none"] = "attention"
    learned_upsampling: Literal[2, 4, 8] | None = Field(
        None, description="Factor of learned upsampling; imported models only."
    )
    output: Literal["labels", "affinities", "affinities_lsds"] = Field(
        "labels", description="What the scores are; others than labels: imported models only."
    )
    conditions: tuple[Condition, ...] = Field(
        (),
        description="What is known of a tile or mosaic beside its pixels, which scales and shifts "
        "the channels of every encoder level (FiLM): `month`, `biome`. 2 dimensions only.",
    )


class Overrides(Strict):
    """Properties of a model that a task replaces, against the way the model was trained."""

    spacing: SpacingTuple | None = Field(
        None, description="Voxel size of the local view; the model's own when null."
    )
    normalization: Normalization | None = Field(
        None, description="Normalization of the source; the model's own when null."
    )

    @property
    def given(self) -> dict[str, Any]:
        """The properties that are replaced, by name."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in named.items() if value is not None}


class Recipe(Strict):
    """Everything about a model but its weights: enough to make its input and to train it."""

    kind: KindName = Field(
        DEFAULT_KIND,
        description="; ".join(f"{each.name}: {each.scores}" for each in kinds().values()) + ".",
    )
    bands: tuple[str, ...] = Field(
        (), description="Names of the input's channels, such as B02; empty for one without a name."
    )
    residual: bool = Field(
        True,
        description="refinement: the network's scores are added to the input's bands of the same "
        "names, and the sum is cut to 0 to 1; false: a sigmoid makes the output of the scores.",
    )
    unit: str = Field("nanometer", description="Unit of every spacing here.")
    spacing: SpacingTuple = Field(description="Voxel size of the local view along z, y, x.")
    normalization: Normalization = Normalization()
    raw_input: bool = Field(
        True,
        description="Feed the normalized voxels themselves, at full resolution, beside the "
        "features.",
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
            raise ValueError(f"unit {unit!r} is not known: use one of {', '.join(METRES)}")
        return unit

    @field_validator("classes", "bands")
    @classmethod
    def _unique(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"names must differ: {', '.join(names)}")
        return names

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        check_window(self.window, self.network.dimensions)
        if self.network.output != "labels" and not self.exclusive:
            raise ValueError(
                f"a {self.kind} has no {self.network.output}: set network.output: labels"
            )
        self._task.check_recipe(self)
        if self.network.conditions and self.network.dimensions != 2:
            raise ValueError(
                f"conditions ({', '.join(self.network.conditions)}) belong to tiles and mosaics, "
                "which have 2 dimensions: set network.dimensions: 2, or leave them out"
            )
        if (self.context is None) != (self.network.fusion == "none"):
            raise ValueError(
                f"fusion {self.network.fusion!r} and context "
                f"{'missing' if self.context is None else 'given'} do not fit: "
                "give a context for attention and concat, none for none"
            )
        if self.context_ratio is not None and min(self.context_ratio) < 1:
            raise ValueError(
                "concentric context must not be finer than the local view, but its spacing over "
                f"the local one is {self.context_ratio} along z, y, x: give a coarser one"
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
        """What makes the output of scores: softmax where a voxel is of exactly one class."""
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
        """Channels of the input: its bands, or one without a name."""
        return max(1, len(self.bands))

    @property
    def base(self) -> tuple[int, ...]:
        """Which bands of the input a residual is added to, by index; empty without a residual."""
        if self.activation != "residual":
            return ()
        return tuple(self.bands.index(name) for name in self.classes)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of what the labels 1, 2, ... of a truth mean: the classes but the background."""
        return self.classes[1:] if self.exclusive else self.classes

    @property
    def is_ct(self) -> bool:
        """Whether its volumes are CT scans, in Hounsfield units: bodies, in millimetres."""
        return self.skips_empty and self.unit == "millimeter"

    @property
    def context_ratio(self) -> SpacingTuple | None:
        """Context spacing over local spacing along z, y, x where context is concentric."""
        if self.context is None or self.context.alignment != "concentric":
            return None
        z, y, x = (c / s for c, s in zip(self.context.spacing, self.spacing, strict=True))
        return z, y, x


class ModelSpec(Recipe):
    """The content of `model.json`: a recipe, and what training made of it."""

    format: Literal[1] = 1
    name: str = Field(min_length=1)
    input_channels: PositiveInt = Field(description="Channels of the local input, raw included.")
    context_channels: int = Field(0, ge=0, description="Channels of the context features.")
    weights_sha256: str = Field(min_length=64, max_length=64)
    training: dict[str, Any] = Field(
        default_factory=dict, description="Samples, steps, seed, scores and version of training."
    )


def check_window(window: tuple[int, ...], dimensions: int) -> None:
    """Raise `ValueError` where a window does not fit the network's four poolings."""
    pooled = window if dimensions == 3 else window[1:]
    if any(n % 16 for n in pooled):
        raise ValueError(
            f"window {window} must be a multiple of 16 along {'z, y, x'[-3 * dimensions + 2 :]}"
        )
    if dimensions == 2 and window[0] != 1:
        raise ValueError(f"window {window} must be 1 along z, since the network has 2 dimensions")
