"""A part of a source as the sample: by voxels of the source, or by a box in its world."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.metadata.values import Ranges
from parafovea.formats.source import Array, LazyArray, Slices, Source, bounded
from parafovea.geometry.grid import AXES, Box, Grid, shape3

#: Significant decimals of a position in voxels; the rest are rounding errors of units.
_DIGITS = 6


def region_box(path: str, grid: Grid, finest: Grid, metadata: SourceMetadata) -> Box | None:
    """Return the voxels that a sample consists of, None for all of its source.

    Parameters
    ----------
    path : str
        The source, for messages.
    grid : Grid
        Of the level that is read.
    finest : Grid
        Of the finest level, to whose voxels `region` refers.
    metadata : SourceMetadata
        User metadata: `region` in voxels, or `roi` in the unit of the source, from a position up to
        another one; the voxels whose centres lie between them are taken.

    Returns
    -------
    Box or None
        In voxels of `grid`: those whose centres lie within the chosen voxels of `finest`.

    Raises
    ------
    SourceError
        If it reaches outside of the source, or holds no voxel.
    """
    chosen: Box | None = None
    if metadata.region is not None:
        chosen = _by_voxels(path, finest, metadata.region)
    elif metadata.roi is not None:
        chosen = _by_position(path, finest, metadata.roi)
    if chosen is None or grid == finest:
        return chosen
    there = finest.converted(grid.unit)
    starts, stops = [], []
    for axis in range(3):
        step = there.spacing[axis] / grid.spacing[axis]
        first = (there.origin[axis] - grid.origin[axis]) / grid.spacing[axis]
        ends = (first + (end[axis] - 0.5) * step for end in (chosen.start, chosen.stop))
        start, stop = (min(grid.shape[axis], max(0, _first_from(end))) for end in ends)
        if start >= stop:
            raise SourceError(
                f"{path}: {chosen} holds no voxel along {AXES[axis]} of the level that is read, "
                f"whose voxels are {grid.spacing} {grid.unit} large: make it larger"
            )
        starts.append(start)
        stops.append(stop)
    return Box(shape3(starts), shape3(stops))


def _by_voxels(path: str, grid: Grid, region: Ranges) -> Box:
    ends = [
        (0 if start is None else start, length if stop is None else stop)
        for (start, stop), length in zip(region, grid.shape, strict=True)
    ]
    for axis, (start, stop), length in zip(AXES, ends, grid.shape, strict=True):
        if not 0 <= start < stop <= length:
            raise SourceError(
                f"{path} has {length} voxels along {axis}, and region= takes {start:g} to "
                f"{stop:g} of them: take a part of 0:{length}"
            )
    return Box(shape3([int(start) for start, _ in ends]), shape3([int(stop) for _, stop in ends]))


def _by_position(path: str, grid: Grid, roi: Ranges) -> Box:
    starts, stops = [], []
    for axis, (low, high) in enumerate(roi):
        name, origin, spacing, length = AXES[axis], *_along(grid, axis)
        faces = origin - spacing / 2, origin + (length - 0.5) * spacing
        low, high = (
            face if at is None else at for at, face in zip((low, high), faces, strict=True)
        )
        room = 10.0**-_DIGITS * spacing
        if low < faces[0] - room or high > faces[1] + room:
            raise SourceError(
                f"{path} reaches from {faces[0]:g} to {faces[1]:g} {grid.unit} along {name}, and "
                f"roi= takes {low:g} to {high:g}: take a part of that, in {grid.unit}"
            )
        start, stop = (max(0, _first_from((at - origin) / spacing)) for at in (low, high))
        if start >= min(stop, length):
            raise SourceError(
                f"{path}: roi= takes {low:g} to {high:g} {grid.unit} along {name}, in which no "
                f"voxel of {spacing:g} {grid.unit} has its centre: make it larger"
            )
        starts.append(start)
        stops.append(min(stop, length))
    return Box(shape3(starts), shape3(stops))


def _along(grid: Grid, axis: int) -> tuple[float, float, int]:
    return grid.origin[axis], grid.spacing[axis], grid.shape[axis]


def _first_from(index: float) -> int:
    """Return the first voxel from a fractional index on."""
    return math.ceil(round(index, _DIGITS))


def cut(source: Source, box: Box | None) -> Source:
    """Return a part of a source, which keeps the whole as `whole`.

    Parameters
    ----------
    source : Source
        A volume without bands.
    box : Box or None
        Voxels within it; None for all.

    Raises
    ------
    SourceError
        If it is an image with bands or a folder of tiles.
    """
    if box is None:
        return source
    if source.bands or source.conditions is not None:
        raise SourceError(
            f"{source.path} is an image with bands, of which no region= or roi= is taken: cut it "
            "with gdal_translate -srcwin"
        )
    z = slice(box.start[0], box.stop[0])
    affine = source.affine
    if affine is not None:
        shift = np.eye(4)
        shift[:3, 3] = box.start[::-1]
        affine = np.asarray(affine, float) @ shift
    gaps = source.gaps
    if gaps is not None:
        gaps = tuple((k - z.start, n) for k, n in gaps if z.start <= k < z.stop - 1)
    return replace(
        source,
        array=CutArray(source.array, box),
        grid=source.grid.crop(box),
        affine=affine,
        planes=source.planes[z],
        positions=source.positions[z],
        gaps=gaps,
        whole=source,
        box=box,
    )


class CutArray:
    """A box of a lazy array.

    Parameters
    ----------
    array : LazyArray
        (z, y, x).
    box : Box
        Within it.
    """

    def __init__(self, array: LazyArray, box: Box) -> None:
        self._array = array
        self._start = box.start
        self.shape = box.shape
        self.dtype = array.dtype

    def __getitem__(self, index: Slices) -> Array:
        """Return the voxels of three slices of step 1."""
        z, y, x = (
            slice(part.start + start, part.stop + start)
            for part, start in zip(bounded(index, self.shape), self._start, strict=True)
        )
        return self._array[z, y, x]
