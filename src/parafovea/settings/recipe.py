"""Description of a model: the content of `model.json` and of a training recipe.

Without torch, since the workflow imports this module when it plans jobs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue

from parafovea.errors import shown
from parafovea.geometry.grid import METRES, Shape
from parafovea.kinds import Kind, kind_named, kinds
from parafovea.runtime.names import name_problem
from parafovea.settings.field_types import (
    MOST_CHANNELS,
    Channels,
    ShapeTuple,
    SpacingTuple,
    Strict,
)
from parafovea.settings.networks import (
    NETWORK_FILES,
    Activation,
    AnyNetworkSpec,
    Condition,
    FusedUNetSpec,
    ImageNetworkSpec,
    correction_channels,
)
from parafovea.settings.quantities import Range

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


class Normalization(Strict):
    """Mapping from source values to the network's input, one for the whole sample."""

    method: Literal["percentile", "window", "zscore", "none"] = Field(
        "percentile",
        description="percentile: `low` and `high` are percentiles of the sample's voxels; "
        "window: they are source values; zscore: the mean of the sample's voxels becomes 0, and "
        "their deviation 1; none: values are unchanged.",
    )
    low: float = Field(0.5, description="Maps to 0.")
    high: float = Field(99.5, description="Maps to 1.")
    clip: bool = Field(True, description="Clip values to [0, 1]; not those of zscore.")
    nonzero: bool = Field(
        False,
        description="zscore: voxels of exactly 0 are left out of mean and deviation, and stay 0.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Normalization:
        if self.nonzero and self.method != "zscore":
            raise ValueError(f"nonzero is for the method zscore, not {self.method}: remove it")
        if self.method in ("percentile", "window") and self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be smaller than high ({self.high})")
        if self.method == "percentile" and not (self.low >= 0 and self.high <= 100):
            raise ValueError(f"percentiles {self.low} and {self.high} must be between 0 and 100")
        return self


class BackboneSpec(Strict):
    """A feature extractor: its name, revision and arguments."""

    name: Literal[
        "raw", "filterbank", "huggingface", "dinov3", "prithvi", "terramind", "network", "none"
    ] = Field(
        "filterbank",
        description="dinov3: huggingface, for a DINOv3 transformer; none: no features, for "
        "imported networks that take the voxels alone.",
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
        (),
        description="Names of the input's channels: of an image of the ground, whose unit is "
        "meter, its bands, such as B02; of a volume such as T1 and FLAIR. Empty for one unnamed "
        "channel.",
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
    network: AnyNetworkSpec = FusedUNetSpec()
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
        self.check_window(self.window)
        self._task.check_recipe(self)
        if isinstance(self.network, FusedUNetSpec):
            self._check_fused(self.network)
        else:
            self._check_image_network(self.network)
        if self.context_ratio is not None and min(self.context_ratio) < 1:
            raise ValueError(
                "concentric context must not be finer than the local view, but the ratio of their "
                f"spacings is {self.context_ratio} along z, y, x: use a coarser context"
            )
        return self

    def _check_fused(self, network: FusedUNetSpec) -> None:
        wide = None if self.context is None else self.context.backbone.name
        if "none" in (self.backbone.name, wide):
            raise ValueError("a FusedUNet takes features: give a backbone other than none")
        if network.output != "labels" and not self.exclusive:
            raise ValueError(
                f"a {self.kind} cannot output {network.output}: set network.output: labels"
            )
        if network.conditions and network.dimensions != 2:
            raise ValueError(
                f"conditions ({', '.join(network.conditions)}) are for tiles and mosaics, "
                "which have 2 dimensions: set network.dimensions: 2, or remove them"
            )
        if network.correction == "filter" and (
            not (self._task.residual and self.residual) or network.dimensions != 2
        ):
            raise ValueError(
                "correction: filter is for a residual refinement of 2 dimensions: set "
                "network.dimensions: 2 and residual: true, or correction: offset"
            )
        if (self.context is None) != (network.fusion == "none"):
            raise ValueError(
                f"fusion is {network.fusion!r}, but context is "
                f"{'missing' if self.context is None else 'given'}: give a context for attention "
                "and concat, and none for fusion none"
            )

    def _check_image_network(self, network: ImageNetworkSpec) -> None:
        if self.uses_features or self.context is not None or not self.raw_input:
            raise ValueError(
                f"a network of type {network.type} takes the voxels alone: give no context, and "
                "set backbone.name: none and raw_input: true"
            )
        if network.complement and not self.exclusive:
            raise ValueError(f"complement is for a background class, which a {self.kind} lacks")
        wanted = len(self.classes) - network.complement
        if len(network.selected) != wanted:
            raise ValueError(
                f"the output has {len(network.selected)} channels, but {wanted} "
                f"of the classes ({', '.join(self.classes)}) have one each: name as many classes, "
                "or say which channels are theirs"
            )
        for name in ("mean", "deviation"):
            given = len(getattr(network, name))
            if given not in (0, 1, self.channels):
                raise ValueError(
                    f"{name} has {given} numbers, but the input has {self.channels} channels: give "
                    "one number, or one per channel"
                )

    def check_window(self, window: tuple[int, ...]) -> None:
        """Raise `ValueError` if the network does not take a window, of voxels along z, y, x."""
        problem = self.network.window_problem(window, self.window)
        if problem is not None:
            raise ValueError(problem)

    @property
    def uses_features(self) -> bool:
        """Whether the network takes features beside the voxels."""
        return self.backbone.name != "none"

    @property
    def backbones(self) -> tuple[BackboneSpec, ...]:
        """The backbones of the local and of the context view that compute features."""
        wide = () if self.context is None else (self.context.backbone,)
        return (*((self.backbone,) if self.uses_features else ()), *wide)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Metadata of a plane that the network takes."""
        return self.network.conditions

    @property
    def fused(self) -> FusedUNetSpec:
        """The architecture of a FusedUNet."""
        if not isinstance(self.network, FusedUNetSpec):
            raise AssertionError("a FusedUNet")
        return self.network

    @property
    def margin(self) -> Shape:
        """Voxels along z, y, x at each border of a window for which there is no output."""
        return (0, 0, 0) if isinstance(self.network, FusedUNetSpec) else self.network.margin

    @property
    def network_files(self) -> tuple[str, ...]:
        """Names of the files of the network in a model folder, its weights first."""
        return (NETWORK_FILES[self.network.type], *sorted(self.network.files))

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
        if not isinstance(self.network, FusedUNetSpec):
            return self.network.activation
        return "softmax" if self.yields_classes else "sigmoid"

    @property
    def yields_classes(self) -> bool:
        """Whether the results are the probabilities of exclusive classes, which add up to 1."""
        labels = not isinstance(self.network, FusedUNetSpec) or self.network.output == "labels"
        return self.exclusive and labels

    @property
    def corrects(self) -> bool:
        """Whether the scores filter the input's bands, and tell the expected error."""
        return isinstance(self.network, FusedUNetSpec) and self.network.correction == "filter"

    @property
    def scores(self) -> int:
        """Number of channels of a FusedUNet's output."""
        classes = len(self.classes)
        return correction_channels(classes) if self.corrects else classes

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
    def is_image(self) -> bool:
        """Whether its input is an image of the ground, whose bands are reflectances.

        Bands in a unit of a metre or more are those of an image; in a smaller unit they are the
        channels of a volume. Kinds whose output has bands take images alone.
        """
        return bool(self.bands) and (METRES[self.unit] >= 1 or self._task.banded)

    @property
    def image_bands(self) -> tuple[str, ...]:
        """Names of the bands that are read from an image; empty for a volume."""
        return self.bands if self.is_image else ()

    @property
    def volume_channels(self) -> tuple[str, ...]:
        """Names of the channels of a volume; empty for one unnamed channel, and for an image."""
        return () if self.is_image else self.bands

    @property
    def ranges(self) -> dict[str, Range]:
        """Decibels or metres at 0 and at 1 of the input, for bands of which a backbone says it."""
        from parafovea.settings.backbones.model_inputs import input_ranges

        return input_ranges(self)

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
    def orientation(self) -> str:
        """Where the axes x, y, z of a scan point to that its network takes; "" for any."""
        return self.network.orientation if isinstance(self.network, ImageNetworkSpec) else ""

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


class TrainingRecipe(Recipe):
    """A recipe that can be trained: its network is a FusedUNet."""

    network: FusedUNetSpec = FusedUNetSpec()


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
