"""Grids and boxes: a `Grid` places an array in the world, a `Box` is a part of its index space.

Axes are always z, y, x. The world is axis-aligned with the array; formats with rotated or flipped
axes keep their affine beside the grid (`parafovea.formats`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parafovea.errors import GridError

AXES = ("z", "y", "x")

Shape = tuple[int, int, int]
Vector = tuple[float, float, float]

#: Metres in one unit; the names are those of OME-Zarr.
METRES = {
    "picometer": 1e-12,
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "decimeter": 1e-1,
    "meter": 1.0,
    "kilometer": 1e3,
    "inch": 0.0254,
    "foot": 0.3048,
    "yard": 0.9144,
    "mile": 1609.344,
}


def shape3(values: Sequence[int], what: str = "shape") -> Shape:
    """Return three integers as a shape (z, y, x), or raise `GridError`."""
    if len(values) != 3:
        raise GridError(
            f"{what} {tuple(values)} has {len(values)} axes: give three values in the order z, y, x"
        )
    z, y, x = (int(v) for v in values)
    return z, y, x


def vector3(values: Sequence[float], what: str = "vector") -> Vector:
    """Return three numbers as a vector (z, y, x), or raise `GridError`."""
    if len(values) != 3:
        raise GridError(
            f"{what} {tuple(values)} has {len(values)} axes: give three values in the order z, y, x"
        )
    z, y, x = (float(v) for v in values)
    return z, y, x


#: Smallest and largest distance between voxels, in any unit; beyond it, sizes overflow.
SMALLEST_SPACING, LARGEST_SPACING = 1e-12, 1e12
#: Most voxels along an axis.
LARGEST_SHAPE = (1 << 31) - 1


def checked_spacing(spacing: Vector) -> Vector:
    """Return a spacing that voxels can have.

    Parameters
    ----------
    spacing : tuple of float
        Distance between voxel centres along z, y, x.

    Raises
    ------
    GridError
        If a value is not finite or lies outside of `SMALLEST_SPACING` to `LARGEST_SPACING`.
    """
    if any(not math.isfinite(s) or s <= 0 for s in spacing):
        raise GridError(f"spacing {spacing} must be positive and finite along z, y, x")
    if any(not SMALLEST_SPACING <= s <= LARGEST_SPACING for s in spacing):
        raise GridError(
            f"spacing {spacing} must be from {SMALLEST_SPACING:g} to {LARGEST_SPACING:g} along "
            "z, y, x: correct it, or use another unit"
        )
    return spacing


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box of voxel indices, which may extend beyond the array it belongs to.

    Parameters
    ----------
    start, stop : tuple of int
        First index and one past the last index along z, y, x.
    """

    start: Shape
    stop: Shape

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """Return the box of a whole array of this shape."""
        return cls((0, 0, 0), shape3(shape))

    @classmethod
    def sized(cls, start: Sequence[int], shape: Sequence[int]) -> Box:
        """Return the box of this shape that starts at `start`."""
        first = shape3(start, "start")
        return cls(first, shape3([a + n for a, n in zip(first, shape, strict=True)]))

    @property
    def shape(self) -> Shape:
        """Number of voxels along z, y, x; never negative."""
        return shape3([max(0, b - a) for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that index an array containing the box."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def expanded(self, margin: Sequence[int]) -> Box:
        """Return the box grown by `margin` voxels on both sides of each axis."""
        return Box(
            shape3([a - m for a, m in zip(self.start, margin, strict=True)]),
            shape3([b + m for b, m in zip(self.stop, margin, strict=True)]),
        )

    def shifted(self, offset: Sequence[int]) -> Box:
        """Return the box shifted by `offset` voxels."""
        return Box(
            shape3([a + o for a, o in zip(self.start, offset, strict=True)]),
            shape3([b + o for b, o in zip(self.stop, offset, strict=True)]),
        )

    def relative_to(self, start: Sequence[int]) -> Box:
        """Return the same box in indices relative to `start`."""
        return self.shifted([-s for s in start])

    def scaled(self, factor: Sequence[int]) -> Box:
        """Return the box with both corners multiplied by `factor` along each axis."""
        return Box(
            shape3([a * f for a, f in zip(self.start, factor, strict=True)]),
            shape3([b * f for b, f in zip(self.stop, factor, strict=True)]),
        )

    def intersection(self, other: Box) -> Box:
        """Return the intersection; its shape has a zero if the boxes do not overlap."""
        start = shape3([max(a, b) for a, b in zip(self.start, other.start, strict=True)])
        stop = shape3(
            [max(s, min(a, b)) for s, a, b in zip(start, self.stop, other.stop, strict=True)]
        )
        return Box(start, stop)

    def union(self, other: Box) -> Box:
        """Return the smallest box that contains both."""
        return Box(
            shape3([min(a, b) for a, b in zip(self.start, other.start, strict=True)]),
            shape3([max(a, b) for a, b in zip(self.stop, other.stop, strict=True)]),
        )

    def tiles(self, shape: Sequence[int]) -> Iterator[Box]:
        """Yield boxes of at most `shape` that cover this box once, in z, y, x order."""
        if any(n < 1 for n in shape):
            raise GridError(f"tile shape {tuple(shape)} must be at least 1 along every axis")
        starts = [range(a, b, n) for a, b, n in zip(self.start, self.stop, shape, strict=True)]
        for corner in itertools.product(*starts):
            yield Box.sized(corner, shape).intersection(self)

    def __str__(self) -> str:
        spans = (f"{name} {a}:{b}" for name, a, b in zip(AXES, self.start, self.stop, strict=True))
        return f"[{', '.join(spans)}]"


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular voxel grid in world coordinates.

    Parameters
    ----------
    shape : tuple of int
        Number of voxels along z, y, x.
    spacing : tuple of float
        Distance between voxel centres along z, y, x, in `unit`.
    origin : tuple of float
        World position of the centre of voxel (0, 0, 0), in `unit`.
    unit : str
        Name of the unit of length, as in OME-Zarr ("nanometer", "millimeter", "meter", …).

    Raises
    ------
    GridError
        If a value is missing, not finite, or not positive where it must be.
    """

    shape: Shape
    spacing: Vector
    origin: Vector = (0.0, 0.0, 0.0)
    unit: str = "nanometer"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", shape3(self.shape))
        object.__setattr__(self, "spacing", vector3(self.spacing, "spacing"))
        object.__setattr__(self, "origin", vector3(self.origin, "origin"))
        if any(n < 1 for n in self.shape):
            raise GridError(f"shape {self.shape} has no voxels: use at least 1 along every axis")
        if any(n > LARGEST_SHAPE for n in self.shape):
            raise GridError(
                f"shape {self.shape} has more than {LARGEST_SHAPE} voxels along an axis: check the "
                "spacings of source and model, and their units"
            )
        checked_spacing(self.spacing)
        if any(not math.isfinite(o) for o in self.origin):
            raise GridError(f"origin {self.origin} must be finite along z, y, x")
        if self.unit not in METRES:
            raise GridError(f"unknown unit {self.unit!r}: use one of {', '.join(METRES)}")

    @property
    def box(self) -> Box:
        """The box of all voxels."""
        return Box.whole(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def extent(self) -> Vector:
        """Physical size along z, y, x from outer face to outer face, in `unit`."""
        return vector3([n * s for n, s in zip(self.shape, self.spacing, strict=True)])

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel, in cubic `unit`."""
        return math.prod(self.spacing)

    def world(self, index: Sequence[float]) -> Vector:
        """Return the world position of a (fractional) voxel index."""
        terms = zip(self.origin, index, self.spacing, strict=True)
        return vector3([o + i * s for o, i, s in terms])

    def index(self, position: Sequence[float]) -> Vector:
        """Return the fractional voxel index of a world position."""
        terms = zip(position, self.origin, self.spacing, strict=True)
        return vector3([(p - o) / s for p, o, s in terms])

    def crop(self, box: Box) -> Grid:
        """Return the grid of the voxels in `box`, which may extend beyond this grid."""
        return replace(self, shape=box.shape, origin=self.world(box.start))

    def resampled(self, spacing: Sequence[float]) -> Grid:
        """Return the grid with another spacing that starts at the same outer face.

        The number of voxels is rounded, so the far face is off by at most half a new voxel.
        """
        new = vector3(spacing, "spacing")
        shape = [
            max(1, math.floor(n * s / t + 0.5))
            for n, s, t in zip(self.shape, self.spacing, new, strict=True)
        ]
        origin = [o - s / 2 + t / 2 for o, s, t in zip(self.origin, self.spacing, new, strict=True)]
        return Grid(shape3(shape), new, vector3(origin), self.unit)

    def coarsened(self, stride: Sequence[int]) -> Grid:
        """Return the grid whose voxels are blocks of `stride` voxels; the last may be partial."""
        shape = [-(-n // k) for n, k in zip(self.shape, stride, strict=True)]
        origin = self.world([(k - 1) / 2 for k in stride])
        spacing = [s * k for s, k in zip(self.spacing, stride, strict=True)]
        return Grid(shape3(shape), vector3(spacing), origin, self.unit)

    def converted(self, unit: str) -> Grid:
        """Return the same grid in another unit of length."""
        if unit == self.unit:
            return self
        if unit not in METRES:
            raise GridError(f"unknown unit {unit!r}: use one of {', '.join(METRES)}")
        factor = METRES[self.unit] / METRES[unit]
        return Grid(
            self.shape,
            vector3([s * factor for s in self.spacing]),
            vector3([o * factor for o in self.origin]),
            unit,
        )

    def same_place(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Return whether two grids have the same voxels, to `tolerance` of a voxel."""
        there = other.converted(self.unit)
        if self.shape != there.shape:
            return False
        last = [n - 1 for n in self.shape]
        return all(
            abs(i - j) <= tolerance
            for corner in ([0, 0, 0], last)
            for i, j in zip(self.index(there.world(corner)), corner, strict=True)
        ) and all(
            abs(a - b) <= tolerance * a for a, b in zip(self.spacing, there.spacing, strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the grid as plain lists and strings, for JSON."""
        return {
            "shape": list(self.shape),
            "spacing": list(self.spacing),
            "origin": list(self.origin),
            "unit": self.unit,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Grid:
        """Return the grid stored by `to_dict`."""
        return cls(
            shape3(values["shape"]),
            vector3(values["spacing"]),
            vector3(values["origin"]),
            str(values["unit"]),
        )

    def __str__(self) -> str:
        shape = " x ".join(str(n) for n in self.shape)
        spacing = " x ".join(f"{s:g}" for s in self.spacing)
        return f"{shape} voxels of {spacing} {self.unit}"
