"""Arguments of the backbone `raw`."""

from __future__ import annotations

from pydantic import Field

from parafovea.geometry.grid import Shape
from parafovea.settings.backbones.arguments import Arguments, StrideArgument, strides_of
from parafovea.settings.recipe import BackboneSpec


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
        return strides_of(self.stride, dimensions)


def neighbour_steps(spec: BackboneSpec) -> tuple[int, ...]:
    """Return the plane of each channel of the backbone `raw`, relative to its own: 0, -1, 1, ..."""
    return RawArguments.model_validate(spec.arguments).steps


def sees_neighbours(spec: BackboneSpec) -> bool:
    """Return whether a backbone's features of a plane depend on the planes around it."""
    return spec.name == "raw" and len(neighbour_steps(spec)) > 1
