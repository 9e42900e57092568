"""What the arguments of all backbones share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from parafovea.geometry.grid import Shape

Stride = Annotated[int, Field(ge=1)]
StrideArgument = Stride | tuple[Stride, Stride, Stride]
Count = Annotated[int, Field(ge=1)]


class Arguments(BaseModel):
    """Immutable arguments; unknown names are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def strides_of(stride: int | Shape, dimensions: int) -> Shape:
    """Return a stride along z, y, x; a single number is 1 along z if slices are independent."""
    if isinstance(stride, int):
        return (1 if dimensions == 2 else stride, stride, stride)
    return stride
