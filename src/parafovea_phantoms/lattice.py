"""Smooth random fields on a coarse lattice, interpolated at voxels.

The unit of length is the finest spacing for cells, so that a cell looks the same at any voxel size
and an anisotropic grid samples the same cell with thicker voxels; it is a millimetre for chests.
Only sums, products and square roots are used, whose results do not depend on the processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parafovea.geometry.grid import Box, Grid, Shape, Vector, shape3, vector3

#: Distance between lattice points, in lengths; coarse fields are smooth on this scale.
STEP = 4.0

#: A field with axes z, y, x.
Field = NDArray[np.float32]


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random generator of one structure of a phantom, independent of all others.

    Parameters
    ----------
    seed : int
        Seed of the phantom, not negative.
    *key : int
        Number of the structure, and of the plane for structures drawn plane by plane.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def white_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return approximately normal noise of mean 0 and variance 1 (float32, any axes).

    Each value is the sum of four random bytes (Irwin-Hall distribution), an exact integer before it
    is scaled, so that results are the same on every machine.
    """
    dice = rng.integers(0, 256, size=(4, *shape), dtype=np.uint8)
    total = dice.sum(axis=0, dtype=np.uint16).astype(np.float32)
    deviation = math.sqrt(4 * (256**2 - 1) / 12)
    noise: NDArray[np.float32] = (total - np.float32(510.0)) * np.float32(1 / deviation)
    return noise


def white_planes(seed: int, stream: int, box: Box) -> Field:
    """Return white noise in whole planes of a box, each with its own random generator.

    (z, y, x) float32; planes may lie up to 8 outside of the volume.
    """
    shape = box.shape[1:]
    planes = [
        white_noise(random_stream(seed, stream, z + 8), shape)
        for z in range(box.start[0], box.stop[0])
    ]
    return np.stack(planes)


def smoothstep(values: Field, low: float, high: float) -> Field:
    """Return 0 below `low`, 1 above `high`, and 3t² - 2t³ between (same axes, float32)."""
    t = np.clip((values - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    step: Field = t * t * (3 - 2 * t)
    return step


@dataclass(frozen=True)
class Lattice:
    """Lattice points that cover a grid's voxels.

    Parameters
    ----------
    shape : tuple of int
        Points along z, y, x; at least 2.
    step : tuple of float
        Distance between points along z, y, x, in lengths.
    voxel : tuple of float
        Distance between voxels along z, y, x, in lengths.
    offset : tuple of float
        Position of voxel 0 along z, y, x, in lengths; point 0 is at 0.
    """

    shape: Shape
    step: Vector
    voxel: Vector
    offset: Vector = (0.0, 0.0, 0.0)

    @classmethod
    def over(cls, grid: Grid, *, length: float | None = None) -> Lattice:
        """Return the lattice that covers a grid; voxel 0 lies on point 0.

        Parameters
        ----------
        grid : Grid
            Grid of the voxels.
        length : float, optional
            The unit of length, in the grid's unit; the finest spacing by default.
        """
        unit = length or min(grid.spacing)
        voxel = vector3([s / unit for s in grid.spacing])
        step = vector3([max(STEP, v) for v in voxel])
        shape = [
            math.floor((n - 1) * v / s) + 2 for n, v, s in zip(grid.shape, voxel, step, strict=True)
        ]
        return cls(shape3(shape), step, voxel)

    @property
    def extent(self) -> Vector:
        """Position of the last point along z, y, x, in lengths."""
        return vector3([(n - 1) * s for n, s in zip(self.shape, self.step, strict=True)])

    def positions(self, box: Box | None = None) -> tuple[Field, Field, Field]:
        """Return the points' positions along z, y, x, in lengths, as broadcastable float32."""
        inside = box or Box.whole(self.shape)
        return _open_axes(inside, self.step, (0.0, 0.0, 0.0))

    def voxel_positions(self, box: Box) -> tuple[Field, Field, Field]:
        """Return the voxels' positions along z, y, x, in lengths, as broadcastable float32."""
        return _open_axes(box, self.voxel, self.offset)

    def noise(self, rng: np.random.Generator, sigma: float) -> Field:
        """Return smooth noise of mean 0 and variance 1: white noise blurred by `sigma` lengths.

        Three box filters approximate the Gaussian. The noise is cut from a larger array, so that
        its variance is the same at the faces.
        """
        sizes = [_box_size(sigma / s) for s in self.step]
        margins = [3 * (n // 2) for n in sizes]
        field = white_noise(rng, tuple(n + 2 * m for n, m in zip(self.shape, margins, strict=True)))
        gain = 1.0
        for axis, size in enumerate(sizes):
            for _ in range(3):
                field = ndimage.uniform_filter1d(field, size, axis=axis)
            box = np.full(size, 1 / size)
            kernel = np.convolve(np.convolve(box, box), box)
            gain *= math.sqrt(math.fsum(float(k) ** 2 for k in kernel))
        inner = tuple(slice(m, m + n) for n, m in zip(self.shape, margins, strict=True))
        out: Field = field[inner] * np.float32(1 / gain)
        return out

    def slope(self, field: Field) -> Field:
        """Return the gradient magnitude of a field at the points, per length."""
        z, y, x = (np.asarray(np.gradient(field, s, axis=a)) for a, s in enumerate(self.step))
        slope: Field = np.sqrt(z * z + y * y + x * x).astype(np.float32)
        return slope

    def distance(self, field: Field, floor: float) -> Field:
        """Return the approximate signed distance to the field's zero surface, in lengths.

        The field over its slope: exact to first order at the surface, so that a membrane drawn
        around it has a constant thickness. `floor` is the minimum slope.
        """
        slope: Field = np.maximum(self.slope(field), np.float32(floor))
        return field / slope

    def sample(self, field: Field, box: Box) -> Field:
        """Return a field at the voxels of a box (z, y, x, float32), interpolated linearly."""
        out = field
        for axis in (2, 1, 0):
            start, stop = box.start[axis], box.stop[axis]
            place = np.arange(start, stop) * (self.voxel[axis] / self.step[axis])
            place = place + self.offset[axis] / self.step[axis]
            low = np.minimum(np.floor(place).astype(np.intp), self.shape[axis] - 2)
            shape = [1, 1, 1]
            shape[axis] = stop - start
            part = (place - low).astype(np.float32).reshape(shape)
            first = np.take(out, low, axis=axis)
            out = first + (np.take(out, low + 1, axis=axis) - first) * part
        return out


def _open_axes(box: Box, step: Vector, offset: Vector) -> tuple[Field, Field, Field]:
    axes = []
    for axis in range(3):
        values = np.arange(box.start[axis], box.stop[axis]) * step[axis] + offset[axis]
        shape = [1, 1, 1]
        shape[axis] = len(values)
        axes.append(values.astype(np.float32).reshape(shape))
    return axes[0], axes[1], axes[2]


def _box_size(sigma: float) -> int:
    """Return the odd width of the box that, applied three times, blurs with `sigma` points."""
    width = math.sqrt(4 * sigma**2 + 1)
    return 2 * math.floor(width / 2) + 1
