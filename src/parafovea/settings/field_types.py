"""Types of fields that several settings share, and their base class.

Without torch, since the workflow imports this module when it plans jobs.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from parafovea.geometry.grid import LARGEST_SHAPE, LARGEST_SPACING, SMALLEST_SPACING

#: Most channels of a network's first level, and of its inputs.
MOST_CHANNELS = 1 << 16

PositiveFloat = Annotated[float, Field(gt=0)]

NonEmpty = Annotated[str, Field(min_length=1)]


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


class Strict(BaseModel):
    """Base of settings: immutable; unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
