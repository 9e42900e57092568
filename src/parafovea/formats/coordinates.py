"""Coordinates of an array along its axes, as netCDF and xarray store them beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.source_placement import Stated, stated_by_axis
from parafovea.geometry.grid import AXES

Array = np.ndarray[Any, Any]

#: Tolerated difference of a step from the mean one, relative to it.
_UNEVEN = 0.01

#: Beginning of the attribute NAME of a netCDF dimension without coordinates.
_NO_COORDINATES = "This is a netCDF dimension but not a netCDF variable"


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Coordinates along one axis.

    Parameters
    ----------
    values : (n,) number
        Position of each voxel.
    unit : str, optional
        Unit as spelled in the file.
    """

    values: Array
    unit: str | None


def coordinates_of(
    values: Array, attributes: Mapping[str, Any], *, length: int
) -> Coordinates | None:
    """Return the coordinates in an array beside a volume, or None if it holds none.

    Parameters
    ----------
    values : ndarray
        The array.
    attributes : mapping
        Its attributes.
    length : int
        Number of voxels along the axis.
    """
    name = attributes.get("NAME", "")
    name = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    if values.shape != (length,) or values.dtype.kind not in "iuf":
        return None
    if name.startswith(_NO_COORDINATES) or (length > 1 and (values == values[0]).all()):
        return None
    unit = attributes.get("units")
    unit = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else unit
    return Coordinates(values.astype(np.float64), None if unit is None else str(unit))


def by_coordinates(
    path: str, axes: Sequence[Coordinates | None], stated: Stated, metadata: SourceMetadata
) -> Stated:
    """Return the place of an array: by its attributes, or if they state no spacing by coordinates.

    Parameters
    ----------
    path : str
        Used in error messages.
    axes : sequence of Coordinates or None
        Along z, y, x.
    stated : Stated
        By the attributes of the array.
    metadata : SourceMetadata
        User metadata: uneven coordinates are ignored if it states a spacing.

    Raises
    ------
    SourceError
        If coordinates run down, or are not evenly spaced.
    """
    if any(step is not None for step in stated.spacing) or not any(axes):
        return stated
    spacing: list[float | None] = [None, None, None]
    origin = [0.0, 0.0, 0.0]
    units: list[str | None] = [None, None, None]
    for axis, found in enumerate(axes):
        if found is None:
            continue
        values, units[axis] = found.values, found.unit
        steps = np.diff(values)
        if (steps < 0).all() and len(steps):
            raise SourceError(
                f"{path} has coordinates that run down along {AXES[axis]}, from {values[0]:.6g} to "
                f"{values[-1]:.6g}: write it again with this axis reversed, and its truth as well"
            )
        step = float(steps.mean()) if len(steps) else None
        if step is not None and not (np.abs(steps - step) <= _UNEVEN * abs(step)).all():
            if metadata.spacing is not None:
                return stated
            raise SourceError(
                f"{path} has uneven coordinates along {AXES[axis]}, {steps.min():.6g} to "
                f"{steps.max():.6g} apart: resample it to an even grid, or state the spacing in "
                "the metadata column of its line in the sample sheet"
            )
        spacing[axis], origin[axis] = step, float(values[0])
    known = next((unit for unit in units if unit is not None), stated.unit)
    return stated_by_axis(spacing, [unit or known for unit in units], origin)
