"""Validated arguments of each backbone; without torch, so that the workflow can import them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from parafovea.errors import ModelError
from parafovea.geometry.grid import Shape, shape3
from parafovea.settings.backbone_folder import BackboneDescription, read_description
from parafovea.settings.quantities import QUANTITIES, Range, check_range
from parafovea.settings.recipe import BackboneSpec, Recipe

Stride = Annotated[int, Field(ge=1)]
StrideArgument = Stride | tuple[Stride, Stride, Stride]
Kind = Literal["gaussian", "laplacian", "gradient", "structure"]

#: Order of the filterbank's channels within a scale, independent of the order in the config.
KINDS: tuple[Kind, ...] = ("gaussian", "laplacian", "gradient", "structure")


class Arguments(BaseModel):
    """Immutable arguments; unknown names are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RawArguments(Arguments):
    """Arguments of `raw`: the voxels themselves."""

    stride: StrideArgument = Field(
        1, description="Voxels averaged into a token: one number, or z, y, x."
    )
    neighbours: int = Field(
        0,
        ge=0,
        le=8,
        description="Planes before and as many after a plane as further channels, mirrored at the "
        "ends of the volume; for networks of 2 dimensions.",
    )

    @property
    def steps(self) -> tuple[int, ...]:
        """The plane of each channel relative to its own: 0, -1, 1, -2, 2, ..."""
        around = (step for k in range(1, self.neighbours + 1) for step in (-k, k))
        return (0, *around)

    def channels(self, dimensions: int) -> tuple[str, ...]:
        """Return the channel names."""
        return tuple("raw" if step == 0 else f"raw_z{step:+d}" for step in self.steps)

    def strides(self, dimensions: int) -> Shape:
        """Return the voxels per token along z, y, x."""
        return _strides(self.stride, dimensions)


class FilterbankArguments(Arguments):
    """Arguments of `filterbank`: Gaussian derivatives and the structure tensor."""

    scales: tuple[Annotated[float, Field(gt=0, le=32)], ...] = Field(
        (1.0, 2.0, 4.0), min_length=1, description="Sigmas in voxels of the finest axis."
    )
    kinds: tuple[Kind, ...] = Field(KINDS, min_length=1, description="Filters to compute.")
    stride: StrideArgument = Field(
        2, description="Voxels averaged into a token: one number, or z, y, x."
    )

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [f"{scale:g}" for scale in self.scales]
        if len(set(names)) != len(names):
            raise ValueError(f"scales {', '.join(names)} must be unique")
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"kinds {', '.join(self.kinds)} must be unique")
        return self

    def channels(self, dimensions: int) -> tuple[str, ...]:
        """Return the channel names: scale by scale, within a scale in the order of `KINDS`."""
        return tuple(
            f"{name}_s{scale:g}"
            for scale in self.scales
            for filters in KINDS
            if filters in self.kinds
            for name in (
                [f"structure{i + 1}" for i in range(dimensions)]
                if filters == "structure"
                else [filters]
            )
        )

    def strides(self, dimensions: int) -> Shape:
        """Return the voxels per token along z, y, x."""
        return _strides(self.stride, dimensions)


Count = Annotated[int, Field(ge=1)]


class Compatibility(Arguments):
    """Plane sampling of DINOv3UNet3D checkpoints; written by `import-model`, never by hand."""

    slice_size: Count = Field(description="Side of a plane as the transformer's input, in pixels.")
    window: tuple[Count, Count, Count] = Field(
        description="Voxels along z, y, x of a window, which is cut into whole planes."
    )
    oversampling: Count = Field(1, description="Voxels of the source per voxel of the result.")


class HuggingfaceArguments(Arguments):
    """Arguments of `huggingface`, and of `dinov3`: tokens of a vision model applied to planes."""

    weights: str = Field(min_length=1, description="Local folder, or name on the hub.")
    planes: Literal["xy", "xy+xz+yz"] = Field(
        "xy", description="Orientation of the planes; tokens of several are averaged."
    )
    stride: int | None = Field(
        None,
        ge=1,
        description="Voxels per token in a plane, by default the patch size; below it, planes are "
        "upsampled.",
    )
    plane_step: int = Field(
        1, ge=1, description="Only for xy: slices per token along z; the middle one is used."
    )
    tile: int | None = Field(
        None,
        ge=1,
        description="Side of a tile of a plane in pixels, without overlap; default 512 upsampled.",
    )
    overlap: int | None = Field(
        None, ge=0, description="Margin on every side of a tile in pixels; default four tokens."
    )
    batch_size: int = Field(8, ge=1, description="Planes per pass; does not change the result.")
    layers: tuple[int, ...] = Field(
        (),
        description="Blocks of a transformer, or stages of a ConvNeXt, whose tokens are "
        "concatenated: from 1, or from -1 backwards; the last one by default. Tokens of a "
        "transformer pass its last normalization.",
    )
    colours: tuple[str, ...] = Field(
        ("B04", "B03", "B02"),
        min_length=1,
        description="For an input with bands: the bands used as the network's channels, which are "
        "mostly red, green and blue.",
    )
    gain: float = Field(
        3.0, gt=0, description="For an input with bands: factor from reflectance to colour."
    )
    compatibility: Compatibility | None = Field(
        None, description="Plane sampling of DINOv3UNet3D checkpoints; imported models only."
    )

    def colour_indices(self, bands: Sequence[str], *, count: int) -> tuple[int, ...]:
        """Return the indices of the bands used as colours; empty for an input without bands.

        Parameters
        ----------
        bands : sequence of str
            Names of the input's channels.
        count : int
            Channels of the network.

        Raises
        ------
        ModelError
            If the input lacks one of these bands, or they are not as many as the channels.
        """
        if not bands:
            if count not in (1, 3):
                raise ModelError(
                    f"backbone huggingface: the network takes {count} channels, but the input has "
                    "one unnamed channel: use weights with 1 or 3 channels, or an input with bands"
                )
            return ()
        missing = [name for name in self.colours if name not in bands]
        if missing:
            raise ModelError(
                f"backbone huggingface uses {', '.join(self.colours)} as colours, but the input "
                f"has the bands {', '.join(bands)}: name {count} of them in the argument `colours`"
            )
        if len(self.colours) != count:
            raise ModelError(
                f"backbone huggingface: the network takes {count} channels, but colours names "
                f"{', '.join(self.colours)}: name {count} of {', '.join(bands)}"
            )
        return tuple(list(bands).index(name) for name in self.colours)

    def voxels_per_token(self, patch: int) -> int:
        """Return the voxels per token in a plane, for patches of `patch` pixels.

        Raises
        ------
        ModelError
            If that is more than a patch, or does not divide tile or overlap.
        """
        if self.stride is None:
            reason = self._uneven(patch)
            if reason is not None:
                raise ModelError(f"backbone huggingface: {reason}")
            return patch
        if self.stride > patch:
            raise ModelError(
                f"backbone huggingface: stride {self.stride} is coarser than the patch of {patch} "
                f"pixels: use a stride of at most {patch}, or coarser voxels"
            )
        return self.stride

    def strides(self, patch: int) -> Shape:
        """Return the voxels per token along z, y, x, for patches of `patch` pixels."""
        stride = self.voxels_per_token(patch)
        return (self.plane_step if self.planes == "xy" else stride, stride, stride)

    def margin_pixels(self, patch: int) -> int:
        """Return the margin on every side of a tile in pixels, before upsampling."""
        return 4 * self.voxels_per_token(patch) if self.overlap is None else self.overlap

    def tile_pixels(self, patch: int) -> int:
        """Return the side of a tile in pixels, for patches of `patch` pixels."""
        stride = self.voxels_per_token(patch)
        return stride * max(1, 512 // patch) if self.tile is None else self.tile

    def _uneven(self, stride: int) -> str | None:
        """Return why tile or overlap are not whole tokens."""
        for name in ("tile", "overlap"):
            value = getattr(self, name)
            if value is not None and value % stride:
                return f"{name} {value} must be a multiple of stride {stride}"
        return None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        reason = None if self.stride is None else self._uneven(self.stride)
        if reason is not None:
            raise ValueError(reason)
        if self.compatibility is not None:
            self._check_compatible(self.compatibility)
        if self.planes != "xy" and self.plane_step != 1:
            stride = "one" if self.stride is None else self.stride
            raise ValueError(
                f"plane_step {self.plane_step} applies to planes xy only, since {self.planes} has "
                f"stride {stride} along every axis: remove it"
            )
        return self

    def _check_compatible(self, compatibility: Compatibility) -> None:
        given = [
            name
            for name in ("tile", "overlap", "plane_step", "layers")
            if name in self.model_fields_set
        ]
        if given:
            raise ValueError(
                f"{' and '.join(given)} cannot be set in compatibility mode, where a tile is a "
                "window: remove them"
            )
        stride = 16 if self.stride is None else self.stride
        if any(n % stride for n in compatibility.window):
            raise ValueError(f"window {compatibility.window} must be a multiple of stride {stride}")


@dataclass(frozen=True)
class EncoderVariant:
    """A published encoder of images with bands.

    Attributes
    ----------
    width, depth, heads, patch : int
        Features per token, blocks, heads, pixels per token.
    """

    width: int
    depth: int
    heads: int
    patch: int = 16

    @property
    def parameters(self) -> int:
        """Weights of its blocks, which are nearly all."""
        return 12 * self.depth * self.width**2


@dataclass(frozen=True)
class PrithviVariant(EncoderVariant):
    """One of the published encoders of Prithvi-EO.

    Attributes
    ----------
    coordinates : bool
        Whether it knows date and place.
    first : bool
        Whether it is of version 1, with statistics of its own.
    """

    coordinates: bool = False
    first: bool = False


#: The published variants, by name.
PRITHVI = {
    "v1_100": PrithviVariant(768, 12, 12, first=True),
    "v2_tiny_tl": PrithviVariant(192, 12, 3, coordinates=True),
    "v2_100_tl": PrithviVariant(768, 12, 12, coordinates=True),
    "v2_300": PrithviVariant(1024, 24, 16),
    "v2_300_tl": PrithviVariant(1024, 24, 16, coordinates=True),
    "v2_600": PrithviVariant(1280, 32, 16, patch=14),
    "v2_600_tl": PrithviVariant(1280, 32, 16, patch=14, coordinates=True),
}

#: Sentinel-2's names of the bands of Prithvi-EO, in its order.
PRITHVI_BANDS = ("B02", "B03", "B04", "B8A", "B11", "B12")

#: The published sizes of TerraMind, by name.
TERRAMIND = {
    "tiny": EncoderVariant(192, 12, 3),
    "small": EncoderVariant(384, 12, 6),
    "base": EncoderVariant(768, 12, 12),
    "large": EncoderVariant(1024, 24, 16),
}

#: Bands of each modality of TerraMind, in its order.
TERRAMIND_BANDS = {
    "S2L2A": (
        *("B01", "B02", "B03", "B04", "B05", "B06"),
        *("B07", "B08", "B8A", "B09", "B11", "B12"),
    ),
    "S2L1C": (
        *("B01", "B02", "B03", "B04", "B05", "B06", "B07"),
        *("B08", "B8A", "B09", "B10", "B11", "B12"),
    ),
    "RGB": ("B04", "B03", "B02"),
    "S1GRD": ("VV", "VH"),
    "S1RTC": ("VV", "VH"),
    "DEM": ("DEM",),
}

#: Modalities of the same bands, which the names of bands do not tell apart.
TERRAMIND_ALIKE = (("S2L2A", "S2L1C"), ("S1GRD", "S1RTC"))

#: Side of the images that the encoders were trained on, in pixels.
ENCODER_IMAGE = 224


class EncoderArguments(Arguments):
    """Arguments that the encoders of images with bands share."""

    weights: str = Field(min_length=1, description="File of the weights, .safetensors or .pt.")
    stride: int | None = Field(
        None,
        ge=1,
        description="Pixels per token, by default the patch; below it, images are upsampled.",
    )
    tile: int | None = Field(
        None,
        ge=1,
        description="Side of a tile in pixels, without overlap; by default 224 upsampled with it.",
    )
    overlap: int | None = Field(
        None, ge=0, description="Margin on every side of a tile in pixels; default two tokens."
    )
    batch_size: int = Field(8, ge=1, description="Images per pass; does not change the result.")
    layers: tuple[int, ...] = Field(
        (),
        description="Blocks whose tokens are concatenated, from 1, or from -1 backwards; the last "
        "one by default.",
    )

    @property
    @abstractmethod
    def architecture(self) -> EncoderVariant:
        """Width, depth, heads and patch."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Blocks whose tokens are concatenated, from 1."""
        depth = self.architecture.depth
        return tuple(n + depth + 1 if n < 0 else n for n in self.layers) or (depth,)

    @property
    def images(self) -> int:
        """Images whose tokens pass through the blocks together, at each place."""
        return 1

    @property
    def features(self) -> int:
        """Features per token, of all its blocks together."""
        return self.architecture.width * len(self.levels)

    @property
    def pixels_per_token(self) -> int:
        """Pixels per token."""
        return self.architecture.patch if self.stride is None else self.stride

    @property
    def margin_pixels(self) -> int:
        """Margin on every side of a tile in pixels, before upsampling."""
        return 2 * self.pixels_per_token if self.overlap is None else self.overlap

    @property
    def tile_pixels(self) -> int:
        """Side of a tile in pixels, before upsampling."""
        if self.tile is not None:
            return self.tile
        whole = ENCODER_IMAGE // self.architecture.patch * self.pixels_per_token
        return max(self.pixels_per_token, whole - 2 * self.margin_pixels)

    @model_validator(mode="after")
    def _whole_tokens(self) -> Self:
        variant, stride = self.architecture, self.pixels_per_token
        if stride > variant.patch:
            raise ValueError(
                f"stride {stride} is coarser than the patch of {variant.patch} pixels: use a "
                f"stride of at most {variant.patch}, or coarser pixels"
            )
        for name in ("tile", "overlap"):
            value = getattr(self, name)
            if value is not None and value % stride:
                raise ValueError(f"{name} {value} must be a multiple of stride {stride}")
        if len(set(self.levels)) != len(self.levels) or not all(
            1 <= n <= variant.depth for n in self.levels
        ):
            raise ValueError(
                f"layers {list(self.layers)} must be different ones of the {variant.depth} blocks: "
                f"1 to {variant.depth}, or -1 to -{variant.depth} from the end"
            )
        return self


Year = Annotated[int, Field(ge=1900, le=2200)]
Day = Annotated[int, Field(ge=1, le=366)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]


class PrithviArguments(EncoderArguments):
    """Arguments of `prithvi`: tokens of a Prithvi-EO encoder for images with bands."""

    variant: Literal[
        "v1_100", "v2_tiny_tl", "v2_100_tl", "v2_300", "v2_300_tl", "v2_600", "v2_600_tl"
    ] = Field(description="Which of the published encoders.")
    date: tuple[Year, Day] | None = Field(
        None, description="Year and day of the year, for variants that end in tl."
    )
    place: tuple[Latitude, Longitude] | None = Field(
        None, description="Latitude and longitude, for variants that end in tl."
    )
    place_order: Literal["latitude_longitude", "longitude_latitude"] = Field(
        "latitude_longitude",
        description="Order in which the encoder is given the place: its own, or that of scripts in "
        "use.",
    )

    @property
    def architecture(self) -> PrithviVariant:
        """The variant."""
        return PRITHVI[self.variant]

    @model_validator(mode="after")
    def _knows_coordinates(self) -> Self:
        given = [n for n in ("date", "place") if getattr(self, n) is not None]
        if given and not self.architecture.coordinates:
            known = ", ".join(name for name, each in PRITHVI.items() if each.coordinates)
            raise ValueError(
                f"{' and '.join(given)} cannot be given to {self.variant}, which knows neither: "
                f"use {known}, or remove them"
            )
        return self


Modality = Literal["S2L2A", "S2L1C", "RGB", "S1GRD", "S1RTC", "DEM"]


class TerramindArguments(EncoderArguments):
    """Arguments of `terramind`: tokens of a TerraMind encoder for images of one or more sensors."""

    size: Literal["tiny", "small", "base", "large"] = Field(
        description="Which of the published encoders."
    )
    modalities: tuple[Modality, ...] = Field(
        min_length=1,
        description="What the bands are of; tokens of several are averaged at each place.",
    )
    ranges: dict[str, Range] = Field(
        default_factory=dict,
        description="What 0 and 1 of the input are, by band: decibels of VV and VH, metres of DEM. "
        "Sources are converted to it.",
    )
    white: float | None = Field(
        None, gt=0, le=10, description="For RGB: the reflectance that is 255 in its images."
    )

    @property
    def architecture(self) -> EncoderVariant:
        """The size."""
        return TERRAMIND[self.size]

    @property
    def images(self) -> int:
        """One a modality."""
        return len(self.modalities)

    @model_validator(mode="after")
    def _stated(self) -> Self:
        named = self.modalities
        if len(set(named)) != len(named):
            raise ValueError(f"modalities {', '.join(named)} must be unique")
        for pair in TERRAMIND_ALIKE:
            if set(pair) <= set(named):
                raise ValueError(
                    f"modalities {' and '.join(pair)} have the same bands, which cannot be of "
                    "both: keep the one that the images are of"
                )
        measured = {band for name in named for band in TERRAMIND_BANDS[name] if band in QUANTITIES}
        other = sorted(set(self.ranges) - measured)
        if other:
            raise ValueError(
                f"ranges of {', '.join(other)}, but modalities {', '.join(named)} have "
                f"{'no such band' if measured else 'reflectances alone'}: remove them"
            )
        for name in named:
            missing = [b for b in TERRAMIND_BANDS[name] if b in QUANTITIES and b not in self.ranges]
            if missing:
                band = missing[0]
                raise ValueError(
                    f"modality {name} needs ranges of {', '.join(missing)}: the "
                    f"{QUANTITIES[band].unit} that are 0 and 1 in the input of the model, such as "
                    f"{{{band}: {list(QUANTITIES[band].example)}}}"
                )
        for band, limits in self.ranges.items():
            check_range(band, limits)
        if ("RGB" in named) != (self.white is not None):
            raise ValueError(
                "white is for modality RGB alone: remove it"
                if self.white is not None
                else "modality RGB needs white, the reflectance that is 255 in its images"
            )
        return self


#: Usual side of a block of a network without margins, in voxels, by its dimensions.
NETWORK_TILES = {2: 512, 3: 64}


class NetworkArguments(Arguments):
    """Arguments of `network`: one tensor of an imported network, as features."""

    weights: str = Field(min_length=1, description="Folder written by `parafovea import-backbone`.")
    planes: Literal["xy", "xy+xz+yz"] = Field(
        "xy",
        description="For a network of planes: their orientation; tokens of several are averaged.",
    )
    plane_step: int = Field(
        1,
        ge=1,
        description="For a network of planes, only for xy: slices per token along z; the middle "
        "one is used.",
    )
    bands: tuple[str, ...] = Field(
        (),
        description="For an input with bands: those that are the network's channels, in its "
        "order; by default those that the import stated.",
    )
    gain: float | None = Field(
        None,
        gt=0,
        description="Factor from the input to the network's, clipped to 0 to 1; by default that of "
        "the import.",
    )
    tile: int | None = Field(
        None,
        ge=1,
        description="Side of a tile in voxels, without overlap; does not change the result, and "
        "cannot be set where the import found a fixed one.",
    )
    batch_size: int = Field(8, ge=1, description="Planes per pass; does not change the result.")

    @property
    def description(self) -> BackboneDescription:
        """What the import found.

        Raises
        ------
        ModelError
            If the folder is incomplete.
        """
        return read_description(Path(self.weights).expanduser())

    @property
    def block(self) -> Shape:
        """Voxels along z, y, x of a block that the network takes at a time, without halo."""
        found = self.description
        if found.reach is None or found.fixed_window:
            return shape3(found.block)
        side = self.tile or NETWORK_TILES[found.dimensions]
        return shape3([p if p > side else side // p * p for p in found.period])

    @property
    def memory(self) -> float:
        """About how many bytes the network takes with its largest windows."""
        found = self.description
        window = found.window_of(self.block if found.dimensions == 3 else (1, *self.block[1:]))
        share = math.prod(window) / math.prod(found.window)
        size = found.fixed_batch or (self.batch_size if found.dimensions == 2 else 1)
        return 3 * found.graph_bytes + size * share * found.window_bytes

    def strides(self, dimensions: int) -> Shape:
        """Return the voxels per token along z, y, x."""
        found = self.description
        if found.dimensions == 3:
            return found.stride
        side = found.stride[1]
        return (self.plane_step if self.planes == "xy" else side, side, side)

    def band_indices(self, bands: Sequence[str]) -> tuple[int, ...]:
        """Return the indices of the bands that are the channels; empty for one unnamed channel.

        Parameters
        ----------
        bands : sequence of str
            Names of the input's channels.

        Raises
        ------
        ModelError
            If the input lacks one of them, or they are not as many as the channels.
        """
        found = self.description
        wanted = self.bands or found.bands
        if not bands:
            if wanted and found.input_channels > 1:
                raise ModelError(
                    f"backbone network: {self.weights} takes {', '.join(wanted)}, but the input "
                    "has one unnamed channel: use an input with these bands"
                )
            return ()
        if not wanted:
            raise ModelError(
                f"backbone network: the input has the bands {', '.join(bands)}, but nothing says "
                f"which are the {found.input_channels} channels of {self.weights}: name them in "
                "the argument `bands`"
            )
        missing = [name for name in wanted if name not in bands]
        if missing or len(wanted) != found.input_channels:
            reason = (
                f"{', '.join(missing)} is not among them"
                if missing
                else f"the network takes {found.input_channels} channels"
            )
            raise ModelError(
                f"backbone network takes the bands {', '.join(wanted)} of an input with "
                f"{', '.join(bands)}, but {reason}: name {found.input_channels} of them in the "
                "argument `bands`"
            )
        return tuple(list(bands).index(name) for name in wanted)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.planes != "xy" and self.plane_step != 1:
            raise ValueError(
                f"plane_step {self.plane_step} applies to planes xy only, since {self.planes} has "
                "the same stride along every axis: remove it"
            )
        return self


BackboneArguments = (
    RawArguments
    | FilterbankArguments
    | HuggingfaceArguments
    | PrithviArguments
    | TerramindArguments
    | NetworkArguments
)

_ARGUMENTS: dict[str, type[BackboneArguments]] = {
    "raw": RawArguments,
    "filterbank": FilterbankArguments,
    "huggingface": HuggingfaceArguments,
    "dinov3": HuggingfaceArguments,
    "prithvi": PrithviArguments,
    "terramind": TerramindArguments,
    "network": NetworkArguments,
}

#: Names of the backbones that are encoders of images with bands.
ENCODERS = tuple(name for name, kind in _ARGUMENTS.items() if issubclass(kind, EncoderArguments))


def parse_arguments(spec: BackboneSpec, *, dimensions: int) -> BackboneArguments:
    """Return the validated arguments of a backbone.

    Parameters
    ----------
    spec : BackboneSpec
        Name, revision and arguments by name.
    dimensions : int
        3, or 2 if every z slice is independent.

    Returns
    -------
    BackboneArguments
        The arguments with defaults filled in.

    Raises
    ------
    ModelError
        If an argument is unknown or invalid, or does not fit `dimensions`.
    """
    if dimensions not in (2, 3):
        raise ModelError(f"backbone {spec.name}: dimensions {dimensions} must be 2 or 3")
    kind = _ARGUMENTS[spec.name]
    if spec.revision is not None and kind is not HuggingfaceArguments:
        raise ModelError(
            f"backbone {spec.name}: revision {spec.revision!r} cannot be set, since only "
            "huggingface has weights of the hub: remove it"
        )
    unknown = sorted(set(spec.arguments) - set(kind.model_fields))
    if unknown:
        raise ModelError(
            f"backbone {spec.name}: unknown argument{'s' * (len(unknown) > 1)} "
            f"{', '.join(map(repr, unknown))}: allowed are {', '.join(kind.model_fields)}"
        )
    try:
        arguments = kind.model_validate(spec.arguments)
    except ValidationError as error:
        raise ModelError(f"backbone {spec.name}: {_reasons(error)}") from error
    _check_dimensions(spec.name, arguments, dimensions)
    return arguments


def neighbour_steps(spec: BackboneSpec) -> tuple[int, ...]:
    """Return the plane of each channel of the backbone `raw`, relative to its own: 0, -1, 1, ..."""
    return RawArguments.model_validate(spec.arguments).steps


def sees_neighbours(spec: BackboneSpec) -> bool:
    """Return whether a backbone's features of a plane depend on the planes around it."""
    return spec.name == "raw" and len(neighbour_steps(spec)) > 1


def check_backbone(spec: BackboneSpec, recipe: Recipe) -> None:
    """Raise `ModelError` if arguments of a model's backbone are invalid, or do not fit the model.

    Parameters
    ----------
    spec : BackboneSpec
        The backbone of its local view or of its context.
    recipe : Recipe
        The model.
    """
    arguments = parse_arguments(spec, dimensions=recipe.network.dimensions)
    if recipe.is_image and sees_neighbours(spec):
        raise ModelError(
            f"backbone {spec.name}: neighbours {spec.arguments['neighbours']} are for planes of a "
            "volume, but the planes here are tiles, which have no order: remove it"
        )
    method = recipe.normalization.method
    reflectance = isinstance(arguments, EncoderArguments)
    if isinstance(arguments, NetworkArguments):
        arguments.band_indices(recipe.bands)
        # its statistics are of these bands as they are
        reflectance = bool(arguments.description.bands)
    if reflectance and method != "none":
        raise ModelError(
            f"backbone {spec.name} takes reflectance, but normalization.method is {method}, which "
            "changes it: set normalization: {method: none}"
        )


def input_ranges(recipe: Recipe) -> dict[str, Range]:
    """Return what 0 and 1 of a model's input are, for its bands that are no reflectance.

    Parameters
    ----------
    recipe : Recipe
        The model, whose backbones state it.

    Returns
    -------
    dict
        Decibels or metres, by band; empty for bands of which no backbone states it.

    Raises
    ------
    ModelError
        If the arguments of a backbone are invalid, or its local and its context view disagree.
    """
    found: dict[str, Range] = {}
    for spec in recipe.backbones:
        if _ARGUMENTS[spec.name] is not TerramindArguments:
            continue
        arguments = parse_arguments(spec, dimensions=recipe.network.dimensions)
        if not isinstance(arguments, TerramindArguments):
            continue
        for band, limits in arguments.ranges.items():
            if found.setdefault(band, limits) != limits:
                raise ModelError(
                    f"backbone {spec.name}: the range of {band} is {list(found[band])} in the "
                    f"local view and {list(limits)} in that of the context: state the same in both"
                )
    return found


def _strides(stride: int | Shape, dimensions: int) -> Shape:
    """Return a stride along z, y, x; a single number is 1 along z if slices are independent."""
    if isinstance(stride, int):
        return (1 if dimensions == 2 else stride, stride, stride)
    return stride


def _check_dimensions(name: str, arguments: BackboneArguments, dimensions: int) -> None:
    """Raise `ModelError` if arguments mix slices that must stay independent."""
    if isinstance(arguments, NetworkArguments):
        _check_network(arguments, dimensions)
        return
    if isinstance(arguments, RawArguments) and arguments.neighbours and dimensions == 3:
        raise ModelError(
            f"backbone {name}: neighbours {arguments.neighbours} are for a network of 2 "
            "dimensions; one of 3 sees other planes already: remove it"
        )
    if dimensions == 3 or isinstance(arguments, EncoderArguments):
        return
    if not isinstance(arguments, HuggingfaceArguments):
        if arguments.strides(2)[0] != 1:
            raise ModelError(
                f"backbone {name}: stride {arguments.strides(2)} must be 1 along z, "
                "since the network has 2 dimensions"
            )
    elif arguments.planes != "xy":
        raise ModelError(
            f"backbone {name}: planes {arguments.planes} need a network of 3 dimensions, "
            "not 2: use planes xy"
        )
    elif arguments.plane_step != 1:
        raise ModelError(
            f"backbone {name}: plane_step {arguments.plane_step} must be 1, "
            "since the network has 2 dimensions"
        )


def _check_network(arguments: NetworkArguments, dimensions: int) -> None:
    found = arguments.description
    if found.dimensions == 3:
        given = {"planes", "plane_step"} & arguments.model_fields_set
        if given:
            raise ModelError(
                f"backbone network: {' and '.join(sorted(given))} cannot be set, since "
                f"{arguments.weights} takes volumes, not planes: remove it"
            )
        if dimensions == 2:
            raise ModelError(
                f"backbone network: {arguments.weights} takes volumes, but the network of the "
                "model has 2 dimensions: use a backbone of planes"
            )
    elif arguments.planes != "xy" and found.stride[1] != found.stride[2]:
        raise ModelError(
            f"backbone network: planes {arguments.planes} need the same stride along both axes of "
            f"a plane, but {arguments.weights} has {found.stride}: use planes xy"
        )
    elif dimensions == 2 and (arguments.planes != "xy" or arguments.plane_step != 1):
        raise ModelError(
            f"backbone network: planes {arguments.planes} of step {arguments.plane_step} need a "
            "network of 3 dimensions, not 2: use planes xy and plane_step 1"
        )
    if arguments.tile is None:
        return
    period = max(found.period)
    if found.reach is None or found.fixed_window:
        raise ModelError(
            f"backbone network: tile {arguments.tile} cannot be set, since {arguments.weights} "
            f"has windows of {found.window} voxels: remove it"
        )
    if arguments.tile % period:
        raise ModelError(f"backbone network: tile {arguments.tile} must be a multiple of {period}")


def _reasons(error: ValidationError) -> str:
    """Return pydantic's errors in one line: argument, value, what is allowed."""
    parts: list[str] = []
    for item in error.errors():
        # The names of union members ("int", "tuple[…]") mean nothing to the author of a config.
        where = str(item["loc"][0]) if item["loc"] else ""
        value = "" if item["type"] == "missing" or not where else f" {item['input']!r}"
        reason = item["msg"].removeprefix("Value error, ")
        parts.append(f"argument {where}{value}: {reason}" if where else reason)
    return "; ".join(parts)
