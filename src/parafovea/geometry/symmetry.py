"""Flips and 90 degree rotations: the views of a volume in test-time augmentation.

A symmetry states for each axis of the view which axis of the volume it follows, and whether it is
flipped. Boxes and grids are mapped, and arrays are transposed on reading, so that no view of a
volume is ever stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from parafovea.errors import GridError
from parafovea.geometry.grid import AXES, Box, Grid, Shape, Vector, shape3, vector3

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Symmetry:
    """A permutation and flip of the axes of a volume.

    Parameters
    ----------
    order : tuple of int
        For each axis z, y, x of the view: the axis of the volume that it follows.
    mirrored : tuple of bool
        For each axis of the view: whether it is flipped.
    """

    order: Shape = (0, 1, 2)
    mirrored: tuple[bool, bool, bool] = (False, False, False)

    @classmethod
    def named(cls, name: str) -> Symmetry:
        """Return the symmetry with a name such as `flip_x` or `flip_x+rotate_90_xy`.

        Parameters
        ----------
        name : str
            Steps joined by ``+`` in the order of application; the empty name is the identity.

        Raises
        ------
        ValueError
            If a step is unknown.
        """
        steps = name.split("+") if name else []
        for step in steps:
            if step not in STEPS:
                raise ValueError(
                    f"augmentation {name!r} has the unknown step {step!r}: use "
                    f"{', '.join(STEPS)}, or several of them joined by +"
                )
        return reduce(cls.then, (STEPS[step] for step in steps), cls())

    def then(self, other: Symmetry) -> Symmetry:
        """Return the symmetry that applies this one first, then the other."""
        z, y, x = (self.mirrored[o] != m for o, m in zip(other.order, other.mirrored, strict=True))
        return Symmetry(other.shape(self.order), (z, y, x))

    @property
    def inverse(self) -> Symmetry:
        """The inverse symmetry."""
        places = [self.order.index(axis) for axis in range(3)]
        z, y, x = (self.mirrored[place] for place in places)
        return Symmetry(shape3(places), (z, y, x))

    def shape(self, shape: Sequence[int]) -> Shape:
        """Return the shape of the view of a volume."""
        return shape3([shape[axis] for axis in self.order])

    def box(self, box: Box, shape: Sequence[int]) -> Box:
        """Return the box in the view for a box in the volume.

        Parameters
        ----------
        box : Box
            Voxels of the volume; may extend beyond it.
        shape : sequence of int
            Shape of the volume along z, y, x.
        """
        spans = []
        for axis, mirrored in zip(self.order, self.mirrored, strict=True):
            start, stop, count = box.start[axis], box.stop[axis], shape[axis]
            spans.append((count - stop, count - start) if mirrored else (start, stop))
        return Box(shape3([a for a, _ in spans]), shape3([b for _, b in spans]))

    def grid(self, grid: Grid) -> Grid:
        """Return the grid of the view of a volume, in a world with the view's axes."""
        spacing, origin = (
            vector3([values[axis] for axis in self.order]) for values in (grid.spacing, grid.origin)
        )
        return replace(grid, shape=self.shape(grid.shape), spacing=spacing, origin=origin)

    def turned(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the view of an array (..., z, y, x), without copying it."""
        lead = values.ndim - 3
        arranged = values.transpose(*range(lead), *(lead + axis for axis in self.order))
        steps = (slice(None, None, -1 if mirrored else None) for mirrored in self.mirrored)
        return arranged[(..., *steps)]


IDENTITY = Symmetry()

#: Equivalent to `numpy.flip` along one axis and `numpy.rot90` over the axes (y, x), (z, x), (z, y).
STEPS = {
    "flip_x": Symmetry(mirrored=(False, False, True)),
    "flip_y": Symmetry(mirrored=(False, True, False)),
    "flip_z": Symmetry(mirrored=(True, False, False)),
    "rotate_90_xy": Symmetry((0, 2, 1), (False, True, False)),
    "rotate_90_xz": Symmetry((2, 1, 0), (True, False, False)),
    "rotate_90_yz": Symmetry((1, 0, 2), (True, False, False)),
}


def check_views(names: Sequence[str]) -> None:
    """Raise `ValueError` for augmentations that are unknown or duplicate another one."""
    known = {IDENTITY: "the original sample"}
    for name in names:
        symmetry = Symmetry.named(name)
        if symmetry in known:
            raise ValueError(
                f"augmentation {name!r} is the same as {known[symmetry]}: list each view once"
            )
        known[symmetry] = repr(name)


def require_fit(name: str, spacing: Vector, *, dimensions: int) -> None:
    """Raise `GridError` if an augmentation does not fit a model's voxel size and dimensions.

    Parameters
    ----------
    name : str
        Name of the augmentation.
    spacing : tuple of float
        Voxel size of a view of the model along z, y, x.
    dimensions : {2, 3}
        Spatial dimensions of the network.
    """
    symmetry = Symmetry.named(name)
    if dimensions == 2 and (symmetry.order[0] != 0 or symmetry.mirrored[0]):
        raise GridError(
            f"augmentation {name!r} changes z, but the network is 2D: use flip_x, flip_y or "
            "rotate_90_xy"
        )
    turned = vector3([spacing[axis] for axis in symmetry.order])
    if any(abs(a - b) > 1e-3 * b for a, b in zip(turned, spacing, strict=True)):
        before, after = (" x ".join(f"{s:g}" for s in each) for each in (spacing, turned))
        raise GridError(
            f"augmentation {name!r} rotates voxels of {before} ({', '.join(AXES)}) to {after}, a "
            "size that the model was not trained on: remove it, or rotate in a plane of equal "
            "spacing"
        )
