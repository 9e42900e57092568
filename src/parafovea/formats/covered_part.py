"""The part of a grid that a truth covers."""

from __future__ import annotations

import math

from parafovea.errors import SourceError
from parafovea.geometry.grid import AXES, Box, Grid, shape3

#: Significant decimals of a voxel index; the rest are rounding errors of unit conversions.
_DIGITS = 6


def covered_part(path: str, truth: Grid, grid: Grid) -> Box:
    """Return the voxels of a prediction that a truth covers, both in one unit, or raise an error.

    A truth whose first corner is that of the prediction and that is smaller is refused: mostly its
    spacing is wrong. One that begins elsewhere within states where it lies.
    """
    is_smaller, is_placed = False, False
    for axis in range(3):
        tolerance = max(truth.spacing[axis], grid.spacing[axis]) * (1 + 1e-6)
        low = _low_face(truth, axis) - _low_face(grid, axis)
        high = low + truth.extent[axis] - grid.extent[axis]
        # by a wrong spacing alone, the faces of the first voxels differ by less than half of one
        is_placed |= low > 0.51 * tolerance
        if low < -tolerance or high > tolerance:
            return _refused(path, truth, grid)
        is_smaller |= abs(low) > tolerance or abs(high) > tolerance
    if not is_smaller:
        return grid.box
    if not is_placed:
        return _refused(path, truth, grid)
    start, stop = [0, 0, 0], [*grid.shape]
    for axis in range(3):
        first = (truth.origin[axis] - grid.origin[axis]) / grid.spacing[axis]
        half = truth.spacing[axis] / grid.spacing[axis] / 2
        # voxels whose centres lie within the truth
        start[axis] = max(0, math.ceil(round(first - half, _DIGITS)))
        end = first - half + truth.extent[axis] / grid.spacing[axis]
        stop[axis] = min(grid.shape[axis], math.ceil(round(end, _DIGITS)))
    return Box(shape3(start), shape3(stop))


def _refused(path: str, truth: Grid, grid: Grid) -> Box:
    faces = []
    for axis in range(3):
        tolerance = max(truth.spacing[axis], grid.spacing[axis]) * (1 + 1e-6)
        low = _low_face(truth, axis) - _low_face(grid, axis)
        high = low + truth.extent[axis] - grid.extent[axis]
        if abs(low) > tolerance or abs(high) > tolerance:
            faces.append(AXES[axis])
    raise SourceError(
        f"truth {path} does not cover the same region as the prediction along "
        f"{', '.join(faces)}: the truth is {truth} from {truth.origin}, the prediction {grid} "
        f"from {grid.origin}: give a truth volume of the same region, or correct "
        "the spacing in the metadata column of the sample sheet; state the place of a truth of a "
        "part by truth_origin="
    )


def _low_face(grid: Grid, axis: int) -> float:
    return grid.origin[axis] - grid.spacing[axis] / 2


def overlapping(truth: Grid, part: Grid) -> Box:
    """Return the voxels of a truth that reach into a part of its source, both in one unit.

    Its shape has a zero if none does.
    """
    start, stop = [], []
    for axis, length in enumerate(truth.shape):
        low = (_low_face(part, axis) - _low_face(truth, axis)) / truth.spacing[axis]
        high = low + part.extent[axis] / truth.spacing[axis]
        start.append(min(length, max(0, math.floor(round(low, _DIGITS)))))
        stop.append(max(start[-1], min(length, math.ceil(round(high, _DIGITS)))))
    return Box(shape3(start), shape3(stop))
