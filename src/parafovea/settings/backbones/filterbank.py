"""Arguments of the backbone `filterbank`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from parafovea.geometry.grid import Shape
from parafovea.settings.backbones.arguments import Arguments, StrideArgument, strides_of

Kind = Literal["gaussian", "laplacian", "gradient", "structure"]

#: Order of the filterbank's channels within a scale, independent of the order in the config.
KINDS: tuple[Kind, ...] = ("gaussian", "laplacian", "gradient", "structure")


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
        return strides_of(self.stride, dimensions)
