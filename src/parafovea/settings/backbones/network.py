"""Arguments of the backbone `network`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from parafovea.errors import ModelError
from parafovea.geometry.grid import Shape, shape3
from parafovea.settings.backbones.arguments import Arguments
from parafovea.settings.backbones.folder import BackboneDescription, read_description

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
