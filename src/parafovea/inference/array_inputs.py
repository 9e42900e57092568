"""Arrays in memory as inputs of a model: validation and grids."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import GridError, VoxelError
from parafovea.geometry.grid import Box, Grid, Shape, Vector, shape3, vector3
from parafovea.geometry.resample import read_reflected_array
from parafovea.settings.recipe import ModelSpec

#: Shifts below this share of a voxel are ignored.
SAME_PLACE = 1e-6


class OpenedVolume(Protocol):
    """A volume, and its context if given, prepared for a model."""

    @property
    def grid(self) -> Grid: ...  # noqa: D102

    def predict(self, box: Box) -> NDArray[np.float32]:
        """Return a window's probabilities, (class, z, y, x)."""
        ...

    def timing(self) -> dict[str, float]:
        """Return the seconds of the features by view."""
        ...


@dataclass(frozen=True)
class ArrayOnGrid:
    """An array in memory with the interface of a stored one.

    Parameters
    ----------
    values : ndarray
        ([band,] z, y, x).
    grid : Grid
        Grid of the voxels.
    """

    values: NDArray[Any]
    grid: Grid

    def read(self, box: Box | None = None) -> NDArray[Any]:
        """Return the voxels of a box inside the array (by default all)."""
        return self.values[(..., *(box or self.grid.box).slices)]


def checked_volume(values: Any, name: str) -> NDArray[Any]:
    """Return an array (z, y, x) of finite real numbers, or raise an error.

    Parameters
    ----------
    values : ndarray
        Array of the caller.
    name : str
        Name of the argument, for the message.

    Raises
    ------
    GridError
        If it does not have three axes, or has no voxels.
    VoxelError
        If its values are not real numbers, or some are NaN or infinite.
    """
    array = np.asarray(values)
    if array.ndim != 3 or array.size == 0:
        raise GridError(
            f"{name} has the shape {array.shape}: give a single volume with the axes z, y, x"
        )
    if array.dtype.kind not in "uif":
        raise VoxelError(
            f"{name} has the dtype {array.dtype}: give integers or real numbers, such as uint8 or "
            "float32"
        )
    # A sum is finite only if all its terms are, and needs no extra memory.
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array.sum(dtype=np.float64)):
        wrong = array.size - int(np.isfinite(array).sum())
        raise VoxelError(
            f"{wrong} of {array.size} voxels of {name} are NaN or infinite: replace them, for "
            f"example with numpy.nan_to_num({name})"
        )
    return array


def context_grid(volume: Grid, spec: ModelSpec) -> Grid:
    """Return the grid that the context of a volume must have.

    Registered context covers the volume in coarser voxels. Concentric context has as many voxels as
    the volume, around its centre.

    Parameters
    ----------
    volume : Grid
        Grid of the volume, at the model's spacing.
    spec : ModelSpec
        A model with context.
    """
    if spec.context is None:
        raise AssertionError("a model with context")
    spacing = spec.context.spacing
    if spec.context_ratio is None:
        return volume.resampled(spacing)
    centre = volume.world([(n - 1) / 2 for n in volume.shape])
    terms = zip(centre, volume.shape, spacing, strict=True)
    origin = vector3([c - (n - 1) / 2 * s for c, n, s in terms])
    return Grid(volume.shape, spacing, origin, volume.unit)


def check_context(context: NDArray[Any], volume: Grid, spec: ModelSpec, source: str) -> Grid:
    """Return the grid of a context array, or raise `GridError` if its shape does not fit.

    Parameters
    ----------
    context : ndarray
        (z, y, x).
    volume : Grid
        Grid of the volume.
    spec : ModelSpec
        The model.
    source : str
        Name of the model, for the message.
    """
    wanted = context_grid(volume, spec)
    if context.shape == wanted.shape:
        return wanted
    spacing, unit = wanted.spacing, wanted.unit
    extent = tuple(round(n * s, 3) for n, s in zip(context.shape, spacing, strict=True))
    place = "around the centre of" if spec.context_ratio else "at the place of"
    raise GridError(
        f"context_volume has {context.shape} voxels, which at {spacing} {unit} cover {extent} "
        f"{unit}, but {source} takes {wanted.shape} voxels of that size, {wanted.extent} {unit} "
        f"{place} the volume ({volume.shape} voxels of {volume.spacing}, {volume.extent} {unit}): "
        f"load it with voxel_size={spacing} and size={wanted.extent}, then "
        "predict(volume, context_volume=context_volume)"
    )


def concentric_view(context: NDArray[Any], volume: Shape, box: Box, ratio: Vector) -> NDArray[Any]:
    """Return the context around a window's centre: as many voxels, each larger by `ratio`.

    Parameters
    ----------
    context : ndarray
        (z, y, x), centred on the volume.
    volume : tuple of int
        Voxels of the volume along z, y, x.
    box : Box
        The window in voxels of the volume; may extend beyond it.
    ratio : tuple of float
        Context spacing over local spacing along z, y, x.

    Returns
    -------
    ndarray
        (z, y, x) of the shape of `box`: linearly interpolated float32 if the centre lies between
        voxels of the context, otherwise of the context's dtype.
    """
    starts = []
    for axis in range(3):
        middle = (volume[axis] - 1) / 2
        centre = (box.start[axis] + box.stop[axis] - 1) / 2
        wide_middle = (context.shape[axis] - 1) / 2
        starts.append(wide_middle + (centre - middle) / ratio[axis] - (box.shape[axis] - 1) / 2)
    first = shape3([math.floor(start + SAME_PLACE) for start in starts])
    values = read_reflected_array(context, Box.sized(first, [n + 1 for n in box.shape]))
    for axis, (start, below) in enumerate(zip(starts, first, strict=True)):
        part, count = start - below, box.shape[axis]
        here = np.take(values, range(count), axis=axis)
        if part > SAME_PLACE:
            after = np.take(values, range(1, count + 1), axis=axis)
            here = ((1 - part) * here + part * after).astype(np.float32)
        values = here
    return values
