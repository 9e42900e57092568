"""Planes shown in a report: selection, reading and drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from parafovea.geometry.grid import AXES, Box, Grid
from parafovea.report.units import length_text, scale_bar
from parafovea.storage.blocks import DRAWN_ROWS

#: Margin, gap between panels and height of a text line, in inches.
MARGIN, GAP, CAPTION = 0.12, 0.1, 0.27

COLOUR_MAP = "viridis"


def panel_height(plane: Plane, width: float) -> float:
    """Return the height of a plane's panel for a width, limited for very tall planes."""
    return width * min(1.4, plane.extent[0] / plane.extent[1])


def show(axes: Axes, picture: np.ndarray, plane: Plane, *, bar: bool = True) -> None:
    """Draw an image of a plane in its true proportions.

    Parameters
    ----------
    axes : Axes
        Axes to draw in.
    picture : (row, column) or (row, column, 3)
        Values in [0, 1], coloured by `COLOUR_MAP`, or red, green and blue.
    plane : Plane
        Plane, which gives the size in the world.
    bar : bool
        Whether to draw a scale bar.
    """
    height, width = plane.extent
    axes.imshow(
        picture, extent=(0, width, height, 0), aspect="equal", cmap=COLOUR_MAP, vmin=0, vmax=1
    )
    axes.set_axis_off()
    if bar:
        _scale_bar(axes, plane)


def _scale_bar(axes: Axes, plane: Plane) -> None:
    height, width = plane.extent
    bar = scale_bar(width, plane.grid.unit)
    # Measured in widths, so that the bar looks the same on flat and on square planes.
    inset, thick = 0.04 * width, 0.014 * width
    low = height - min(inset, 0.15 * height)
    left = width - inset - bar.length
    axes.add_patch(
        Rectangle(
            (left, low - thick), bar.length, thick, facecolor="white", edgecolor="black", lw=0.6
        )
    )
    axes.text(
        left + bar.length,
        low - 1.8 * thick,
        bar.label,
        color="white",
        size=8,
        weight="bold",
        ha="right",
        va="bottom",
        path_effects=[withStroke(linewidth=1.8, foreground="black")],
    )


#: Minimum aspect ratio (height over width) of an XZ plane to be shown.
FLATTEST = 0.02


class Voxels(Protocol):
    """Interface of volumes read by box, such as `store.Stored` and `formats.source.Source`."""

    @property
    def grid(self) -> Grid:
        """Grid of the voxels."""
        ...

    def read(self, box: Box) -> np.ndarray:
        """Return the voxels of a box: (z, y, x), or (channel, z, y, x)."""
        ...


@dataclass(frozen=True, slots=True)
class Plane:
    """A plane of a grid, drawn with one pixel per block of voxels.

    Parameters
    ----------
    grid : Grid
        Grid of the volume.
    axis : int
        Normal axis of the plane: 0 (z) for an XY plane, 1 (y) for an XZ plane.
    index : int
        Voxel index along `axis`.
    max_pixels : int
        Maximum side of the image in pixels.
    """

    grid: Grid
    axis: int
    index: int
    max_pixels: int

    @property
    def axes(self) -> tuple[int, int]:
        """Axes along the image's vertical (down) and horizontal (right) direction."""
        return (1, 2) if self.axis == 0 else (0, 2)

    @property
    def factors(self) -> tuple[int, int]:
        """Voxels per pixel down and right."""
        down, right = (-(-self.grid.shape[a] // self.max_pixels) for a in self.axes)
        return down, right

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width of the plane in the world, in the grid's unit."""
        down, right = (self.grid.extent[a] for a in self.axes)
        return down, right

    @property
    def name(self) -> str:
        """Orientation and position, such as "XY plane at z = 24 (0.38 µm)"."""
        letters = "".join(AXES[a] for a in reversed(self.axes)).upper()
        depth = length_text((self.index + 0.5) * self.grid.spacing[self.axis], self.grid.unit)
        return f"{letters} plane at {AXES[self.axis]} = {self.index} ({depth})"

    def sampled(self, axis: int) -> np.ndarray:
        """Return the voxel index at each pixel's centre along an axis of the plane."""
        if axis == self.axis:
            return np.asarray([self.index])
        count, factor = self.grid.shape[axis], self.factors[self.axes.index(axis)]
        centres = np.arange(0, count, factor) + factor // 2
        return np.minimum(centres, count - 1)

    def box(self, rows: tuple[int, int], columns: tuple[int, int], index: int) -> Box:
        """Return the box of half-open spans of rows and columns, at an index along `axis`."""
        start, stop = [index] * 3, [index + 1] * 3
        for axis, (first, last) in zip(self.axes, (rows, columns), strict=True):
            start[axis], stop[axis] = first, last
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def choose_planes(grid: Grid, slices: int, max_pixels: int) -> tuple[Plane, ...]:
    """Return evenly spaced XY planes, then the middle XZ plane unless it is flat.

    The choice depends on the grid only, not on the content.

    Parameters
    ----------
    grid : Grid
        Grid of the volume.
    slices : int
        Maximum number of XY planes.
    max_pixels : int
        Maximum side of an image in pixels.

    Returns
    -------
    tuple of Plane
        At the centres of `slices` equal parts of the depth; the XZ plane only if the depth is more
        than one plane and more than a fiftieth of the width.
    """
    depth = grid.shape[0]
    count = min(slices, depth)
    planes = [Plane(grid, 0, (2 * i + 1) * depth // (2 * count), max_pixels) for i in range(count)]
    if depth > 1 and grid.extent[0] >= FLATTEST * grid.extent[2]:
        planes.append(Plane(grid, 1, grid.shape[1] // 2, max_pixels))
    return tuple(planes)


def read_mean(voxels: Voxels, plane: Plane) -> np.ndarray:
    """Read a plane of an image on its own grid; a pixel is the mean of its voxels.

    Parameters
    ----------
    voxels : Voxels
        Image or probabilities on `plane.grid`.
    plane : Plane
        Plane to read.

    Returns
    -------
    (row, column) or (channel, row, column) float32
        Means in the image's own values.
    """
    down, right = plane.factors
    height, width = (plane.grid.shape[a] for a in plane.axes)
    step = down * max(1, DRAWN_ROWS // down)
    strips = []
    for first in range(0, height, step):
        rows = (first, min(height, first + step))
        block = voxels.read(plane.box(rows, (0, width), plane.index))
        flat = np.take(block, 0, axis=plane.axis - 3).astype(np.float32)
        strips.append(_block_mean(_block_mean(flat, down, -2), right, -1))
    return np.concatenate(strips, axis=-2)


def _block_mean(values: np.ndarray, factor: int, axis: int) -> np.ndarray:
    if factor == 1:
        return values
    starts = np.arange(0, values.shape[axis], factor)
    counts = np.diff(np.append(starts, values.shape[axis])).astype(np.float32)
    sums = np.add.reduceat(values, starts, axis=axis)
    return np.asarray(sums / (counts[:, None] if axis == -2 else counts), np.float32)


def read_nearest(voxels: Voxels, plane: Plane) -> np.ndarray:
    """Read a plane of labels on any grid of the same world; a pixel is the voxel at its centre.

    Parameters
    ----------
    voxels : Voxels
        Labels; pixels beyond their grid get the nearest voxel.
    plane : Plane
        Plane to read.

    Returns
    -------
    (row, column)
        Labels in their own dtype.
    """
    there = voxels.grid.converted(plane.grid.unit)
    index = {}
    for axis in range(3):
        position = plane.grid.origin[axis] + plane.sampled(axis) * plane.grid.spacing[axis]
        nearest = np.floor((position - there.origin[axis]) / there.spacing[axis] + 0.5)
        index[axis] = np.clip(nearest, 0, there.shape[axis] - 1).astype(np.int64)
    rows, columns = (index[a] for a in plane.axes)
    at, left = int(index[plane.axis][0]), int(columns[0])
    strips, first = [], 0
    while first < len(rows):
        last = int(np.searchsorted(rows, rows[first] + DRAWN_ROWS))
        top = int(rows[first])
        box = plane.box((top, int(rows[last - 1]) + 1), (left, int(columns[-1]) + 1), at)
        flat = np.take(voxels.read(box), 0, axis=plane.axis)
        strips.append(flat[np.ix_(rows[first:last] - top, columns - left)])
        first = last
    return np.concatenate(strips)
