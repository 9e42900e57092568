"""Descriptions of networks: the FusedUNet of this package, and networks of other projects.

Without torch, since the workflow imports this module when it plans jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, NonNegativeInt, Tag, model_validator

from parafovea.errors import shown
from parafovea.settings.field_types import (
    Channels,
    PositiveFloat,
    PositiveInt,
    ShapeTuple,
    Strict,
)

Activation = Literal["softmax", "sigmoid", "none", "residual"]
Condition = Literal["month", "biome"]


def correction_channels(bands: int) -> int:
    """Return the number of scores by which `correction: filter` corrects a number of bands.

    An offset, two gains of details and an expected error a band, and a factor of each pair.
    """
    return bands * (bands + 4)


#: Voxels along an axis that the FusedUNet's four poolings reduce to one.
POOLED = 16

#: File of the weights or the graph of a network in its model folder, by type.
NETWORK_FILES: Mapping[str, str] = {
    "fused_unet": "model.safetensors",
    "monai": "model.safetensors",
    "pivot": "model.safetensors",
    "onnx": "network.onnx",
    "torchscript": "network.torchscript",
    "exported": "network.pt2",
}

Margin = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]


def _inside(name: str) -> str:
    parts = name.split("/")
    if "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{shown(name)!r} is not the name of a file in the model folder")
    return name


#: Name of a file in a model folder, with slashes where it lies in a folder within.
FileName = Annotated[str, AfterValidator(_inside)]


class FusedUNetSpec(Strict):
    """The FusedUNet's architecture."""

    type: Literal["fused_unet"] = Field(
        "fused_unet", description="Networks of other projects are imported, not trained."
    )
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
    correction: Literal["offset", "filter"] = Field(
        "offset",
        description="What the scores of a residual refinement do to the bands. offset: they are "
        "added; filter: they mix, scale and sharpen the bands of each pixel, and tell the error "
        "that is expected, by which `inference.caution` holds changes back.",
    )
    dropout: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.1,
        description="Share of the channels that are dropped after each block in training; twice "
        "that at the bottleneck. 0 learns fine structures in far fewer steps.",
    )

    @property
    def multiple_of(self) -> tuple[int, int, int]:
        """What the sides of a window are multiples of, along z, y, x."""
        return (POOLED if self.dimensions == 3 else 1, POOLED, POOLED)

    @property
    def files(self) -> Mapping[str, str]:
        """Hashes of files besides that of the weights, by name."""
        return {}

    def window_problem(self, window: tuple[int, ...], trained: tuple[int, ...]) -> str | None:
        """Return why a window does not fit the four poolings of the network; None if it does."""
        pooled = window if self.dimensions == 3 else window[1:]
        if any(n % POOLED for n in pooled):
            axes = "z, y, x"[-3 * self.dimensions + 2 :]
            return f"window {window} must be a multiple of {POOLED} along {axes}"
        return _flat_problem(window, self.dimensions)


class ImageNetworkSpec(Strict):
    """A network of another project: it takes the voxels of a window alone, without features.

    Its input is (window, channel, [z,] y, x) float32.
    """

    type: Literal["onnx", "torchscript", "exported", "monai", "pivot"] = Field(
        description="onnx: an ONNX graph; torchscript, exported: a graph of torch.jit or "
        "torch.export; monai: a network of MONAI by its class name and arguments; pivot: one of "
        "PIVOT, whose architecture follows from its weights."
    )
    dimensions: Literal[2, 3] = Field(description="2: every z slice is independent.")
    axes: Literal["zyx", "xyz"] = Field(
        "zyx",
        description="Order of the spatial axes of input and output; xyz: that of NIfTI files as "
        "nibabel and MONAI read them (of 2 dimensions x, y).",
    )
    orientation: Annotated[str, Field(pattern="^([RL][AP][SI])?$")] = Field(
        "",
        description="Where the axes x, y, z of a scan point to that the network takes, such as "
        "RAS; as the file has them when empty.",
    )
    architecture: str = Field("", description="monai: name of the class.")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="monai: arguments of the class, by name."
    )
    multiple_of: ShapeTuple = Field(
        (1, 1, 1), description="What the sides of a window are multiples of, along z, y, x."
    )
    fixed_window: bool = Field(
        False, description="The network takes windows of the model's own size only."
    )
    fixed_batch: PositiveInt | None = Field(
        None, description="The number of windows that the network takes at a time; any when null."
    )
    mean: tuple[float, ...] = Field(
        (), description="Subtracted from the normalized values: one number, or one per channel."
    )
    deviation: tuple[PositiveFloat, ...] = Field(
        (),
        description="Divides the normalized values after `mean`: one number, or one per channel.",
    )
    entry: NonNegativeInt | str = Field(
        0, description="Which of several outputs: its index, or its key in a dictionary."
    )
    channels: tuple[NonNegativeInt, ...] = Field(
        (), description="Channel of the output of each class; the channels in order when empty."
    )
    output_channels: Channels = Field(description="Channels of the output.")
    complement: bool = Field(
        False, description="The output lacks the background, whose probability is the rest to 1."
    )
    activation: Literal["softmax", "sigmoid", "none"] = Field(
        "softmax",
        description="What turns the output into probabilities; none: it is probabilities already.",
    )
    margin: Margin = Field(
        (0, 0, 0),
        description="Voxels along z, y, x at each border of a window that the output lacks.",
    )
    stride: ShapeTuple = Field(
        (1, 1, 1), description="Voxels along z, y, x for each voxel of the output."
    )
    files: dict[FileName, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(
        default_factory=dict, description="SHA-256 of further files of the network, by name."
    )
    window_bytes: PositiveInt | None = Field(
        None, description="Peak memory of the prediction of a window, measured by the import."
    )
    window_seconds: PositiveFloat | None = Field(
        None, description="Time of the prediction of a window, measured by the import."
    )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Metadata that the network takes: none."""
        return ()

    @model_validator(mode="after")
    def _fits(self) -> ImageNetworkSpec:
        if (self.type == "monai") != bool(self.architecture):
            raise ValueError("`architecture` is the class of a network of type monai: give both")
        if self.dimensions == 2 and (
            self.margin[0] or self.stride[0] != 1 or self.multiple_of[0] != 1
        ):
            raise ValueError(
                f"margin {self.margin}, stride {self.stride} and multiple_of {self.multiple_of} of "
                "a network of 2 dimensions begin with 0, 1 and 1, since planes are independent"
            )
        if any(channel >= self.output_channels for channel in self.channels):
            raise ValueError(
                f"channels are {', '.join(map(str, self.channels))}, but the output has "
                f"{self.output_channels}, counted from 0"
            )
        return self

    @property
    def extra(self) -> str:
        """The extra of parafovea with what runs the network, "" for none."""
        return {"onnx": "onnx", "monai": "train"}.get(self.type, "")

    @property
    def selected(self) -> tuple[int, ...]:
        """The channels of the output in the order of the classes, without a complement."""
        return self.channels or tuple(range(self.output_channels))

    def window_problem(self, window: tuple[int, ...], trained: tuple[int, ...]) -> str | None:
        """Return why the network does not take a window; None if it does.

        Parameters
        ----------
        window : tuple of int
            Voxels of a window along z, y, x.
        trained : tuple of int
            The model's own window.
        """
        if self.fixed_window and window != trained:
            return f"window {window} must be {trained}, the only size that the network takes"
        for side, multiple, margin, stride in zip(
            window, self.multiple_of, self.margin, self.stride, strict=True
        ):
            if side % multiple:
                return f"window {window} must be a multiple of {self.multiple_of} along z, y, x"
            if side <= 2 * margin or (side - 2 * margin) % stride:
                return (
                    f"window {window} without the margin {self.margin} at each border must be a "
                    f"positive multiple of the output's stride {self.stride}"
                )
        return _flat_problem(window, self.dimensions)


def _flat_problem(window: tuple[int, ...], dimensions: int) -> str | None:
    if dimensions == 2 and window[0] != 1:
        return f"window {window} must be 1 along z, since the network has 2 dimensions"
    return None


#: Tags of the two descriptions, which appear in the paths of errors.
NETWORK_TAGS = ("fused_unet", "image")


def _tag(value: Any) -> str:
    named = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return "fused_unet" if named in (None, "fused_unet") else "image"


#: Description of any network; without a type, of a FusedUNet.
AnyNetworkSpec = Annotated[
    Annotated[FusedUNetSpec, Tag("fused_unet")] | Annotated[ImageNetworkSpec, Tag("image")],
    Discriminator(_tag),
]
