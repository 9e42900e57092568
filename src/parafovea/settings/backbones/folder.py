"""The description of a backbone folder: a network cut at one tensor, as features.

Without torch, since the workflow reads it when it plans jobs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from parafovea.errors import ModelError, shown
from parafovea.geometry.grid import LARGEST_SHAPE, Shape, shape3
from parafovea.runtime.documents import json_values, read_text
from parafovea.settings.field_types import MOST_CHANNELS

#: Name of the description in a backbone folder.
DESCRIPTION = "backbone.json"

#: Names of the graph in a backbone folder, by its type.
GRAPHS: dict[str, str] = {"onnx": "features.onnx", "torchscript": "features.pt"}

#: Sides below which windows are not reduced, in voxels.
SMALLEST = 32

Count = Annotated[int, Field(ge=1, le=LARGEST_SHAPE)]
Channels = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
Margin = Annotated[int, Field(ge=0, le=LARGEST_SHAPE)]
Offset = Annotated[int, Field(ge=-LARGEST_SHAPE, le=LARGEST_SHAPE)]
Positive = Annotated[float, Field(gt=0)]


class Reach(BaseModel):
    """How far the voxels on which a token depends lie beyond its own, along z, y, x."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    before: tuple[Margin, Margin, Margin] = Field(description="Towards the start of the axis.")
    after: tuple[Margin, Margin, Margin] = Field(description="Towards its end.")


class BackboneDescription(BaseModel):
    """The content of `backbone.json`; voxels and tokens are along z, y, x."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    name: str = Field(min_length=1, max_length=200, description="Name of the features.")
    type: Literal["onnx", "torchscript"] = Field(description="Type of the graph.")
    tensor: str = Field(min_length=1, description="Name of the tensor in the network's own file.")
    dimensions: Literal[2, 3] = Field(description="2: it takes planes; 3: volumes.")
    input_channels: Channels = Field(description="Channels that the network takes.")
    features: Channels = Field(description="Channels of the tensor.")
    stride: tuple[Count, Count, Count] = Field(description="Voxels per token.")
    offset: tuple[Offset, Offset, Offset] = Field(
        (0, 0, 0),
        description="Where the voxels of the first token begin, in voxels from the window's start.",
    )
    period: tuple[Count, Count, Count] = Field(
        description="Shifts of the input, in voxels, that shift the tokens and change nothing else."
    )
    reach: Reach | None = Field(
        description="Null: tokens depend on the whole window, which then is `window`."
    )
    window: tuple[Count, Count, Count] = Field(
        description="Voxels of a window that the network takes, others by multiples of `period`."
    )
    tokens: tuple[Count, Count, Count] = Field(description="Tokens of this window.")
    overlap: tuple[Margin, Margin, Margin] = Field(
        (0, 0, 0), description="Margin of a window on each side, where there is no reach."
    )
    fixed_window: bool = Field(False, description="The network takes no other window.")
    fixed_batch: Count | None = Field(None, description="Windows at a time, where it is fixed.")
    bands: tuple[str, ...] = Field(
        (), description="Bands that are the network's channels, in its order; empty if unstated."
    )
    gain: Positive = Field(
        1.0, description="Factor from the input to the network's; its product is clipped to 0 to 1."
    )
    mean: tuple[float, ...] = Field((0.0,), min_length=1, description="Subtracted after it.")
    deviation: tuple[Positive, ...] = Field((1.0,), min_length=1, description="Divides after that.")
    window_bytes: int = Field(ge=1, description="About the memory of a window in bytes.")
    graph_bytes: int = Field(ge=1, description="Size of the graph in bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Hash of the graph.")
    upstream: dict[str, Any] = Field(default_factory=dict, description="The file it was made from.")

    @property
    def graph(self) -> str:
        """Name of the file of the graph."""
        return GRAPHS[self.type]

    @property
    def margins(self) -> Reach:
        """Voxels beyond a token that a window has to hold: its reach, or the overlap."""
        return self.reach or Reach(before=self.overlap, after=self.overlap)

    @property
    def skipped(self) -> Shape:
        """Tokens at the start of a window that are left out, along z, y, x."""
        terms = zip(self.margins.before, self.offset, self.stride, strict=True)
        return shape3([max(0, -(-(n - o) // s)) for n, o, s in terms])

    @property
    def before(self) -> Shape:
        """Voxels of a window before the first token that is used, along z, y, x."""
        terms = zip(self.skipped, self.stride, self.offset, strict=True)
        return shape3([k * s + o for k, s, o in terms])

    @property
    def halo(self) -> Shape:
        """Margin of a block in voxels along z, y, x, a multiple of the stride."""
        terms = zip(self.before, self.margins.after, self.stride, strict=True)
        return shape3([-(-max(b, a) // s) * s for b, a, s in terms])

    @property
    def block(self) -> tuple[int, int, int]:
        """Voxels along z, y, x of the largest block of `window`, without halo; 0 if there is none.

        A multiple of `period`, so that each block begins at a multiple of it.
        """
        sides = []
        for axis in range(3):
            stride, first = self.stride[axis], self.skipped[axis]
            held = self.window[axis] - self.offset[axis] - self.margins.after[axis]
            count = min(self.tokens[axis], held // stride) - first
            sides.append(max(0, count * stride // self.period[axis] * self.period[axis]))
        z, y, x = sides
        return z, y, x

    def window_of(self, block: Shape) -> Shape:
        """Return the voxels of the smallest window whose tokens cover a block.

        Parameters
        ----------
        block : tuple of int
            Voxels of the block along z, y, x without halo, a multiple of the stride.
        """
        if self.reach is None or self.fixed_window:
            return self.window
        sides = []
        for axis, inner in enumerate(block):
            stride, period = self.stride[axis], self.period[axis]
            count = self.skipped[axis] + inner // stride
            wanted = count * stride + self.offset[axis] + self.margins.after[axis]
            # a window grows by `period` voxels, and its tokens by as many as these hold
            steps = max(
                -(-(wanted - self.window[axis]) // period),
                -(-(count - self.tokens[axis]) * stride // period),
                -(max(0, self.window[axis] - SMALLEST) // period),
            )
            sides.append(self.window[axis] + steps * period)
        return shape3(sides)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        axes = range(3 - self.dimensions, 3)
        flat = [self.stride, self.period, self.window, self.tokens]
        if self.dimensions == 2 and any(values[0] != 1 for values in flat):
            raise ValueError("stride, period, window and tokens along z are 1 in 2 dimensions")
        for name in ("mean", "deviation"):
            given = len(getattr(self, name))
            if given not in (1, self.input_channels):
                raise ValueError(
                    f"{name} has {given} numbers, but the network takes {self.input_channels} "
                    "channels: give one number, or one per channel"
                )
        if self.bands and len(self.bands) != self.input_channels:
            raise ValueError(
                f"bands {', '.join(self.bands)} are {len(self.bands)}, but the network takes "
                f"{self.input_channels} channels: name one per channel"
            )
        for axis in axes:
            if self.period[axis] % self.stride[axis]:
                raise ValueError(
                    f"period {self.period} must be a multiple of the stride {self.stride}"
                )
        if (self.reach is None or self.fixed_window) and min(self.block) < 1:
            raise ValueError(
                f"windows of {self.window} voxels leave none between their margins: give a larger "
                "window or a smaller overlap"
            )
        return self


def read_description(folder: Path) -> BackboneDescription:
    """Read the description of a backbone folder.

    Parameters
    ----------
    folder : Path
        Folder written by `parafovea import-backbone`.

    Raises
    ------
    ModelError
        If the folder or a file is missing, or the description is invalid.
    """
    card = folder / DESCRIPTION
    if not card.is_file():
        raise ModelError(
            f"backbone network: {folder} has no {DESCRIPTION}: set the argument `weights` to a "
            "folder written by parafovea import-backbone"
        )
    text = read_text(card, "a backbone's description", error=ModelError)
    values = json_values(text, card, error=ModelError, fix="import the backbone again")
    try:
        found = BackboneDescription.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(
            f"{shown('.'.join(map(str, each['loc']))) or 'backbone'}: {shown(each['msg'])}"
            for each in error.errors()[:20]
        )
        raise ModelError(f"{card} is not a valid description of a backbone: {reasons}") from error
    if not (folder / found.graph).is_file():
        raise ModelError(f"backbone network: {folder} has no {found.graph}: copy the whole folder")
    return found
