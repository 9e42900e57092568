"""A volume of any size that is never whole in memory: balls in noise, drawn box by box."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box, Grid, Shape, shape3
from parafovea.storage.store import create

#: Voxels from one ball to the next, how far each is off its place, and its radius: no two touch.
STEP = 64
OFF = 8
RADII = (8.0, 20.0)

#: Grey values of the background and of a ball, and the standard deviation of the noise.
GREY = (90.0, 160.0)
NOISE = 20.0

#: Voxels that are drawn at once: whole shards of the image.
BLOCK: Shape = (64, 256, 256)


@dataclass(frozen=True)
class Balls:
    """A lattice of balls, each off its place by a random step and of a random radius.

    Parameters
    ----------
    shape : tuple of int
        Voxels along z, y, x; whole steps of the lattice.
    seed : int
        Of places, radii and noise.
    """

    shape: Shape
    seed: int = 0

    @property
    def lattice(self) -> Shape:
        """Balls along z, y, x."""
        return shape3([n // STEP for n in self.shape])

    @property
    def count(self) -> int:
        """Balls of the whole volume."""
        z, y, x = self.lattice
        return z * y * x

    def ball(self, place: Shape) -> tuple[NDArray[np.float64], float]:
        """Return the centre, in voxels along z, y, x, and the radius of a place's ball."""
        random = np.random.default_rng([self.seed, *place])
        centre = (np.asarray(place) + 0.5) * STEP + random.uniform(-OFF, OFF, 3)
        return centre, float(random.uniform(*RADII))

    def classes(self, box: Box) -> NDArray[np.uint8]:
        """Return the truth of a box, (z, y, x) uint8: 1 in a ball, else 0."""
        drawn = np.zeros(box.shape, np.uint8)
        first = [max(0, a // STEP) for a in box.start]
        last = [min(n, -(-b // STEP)) for b, n in zip(box.stop, self.lattice, strict=True)]
        for place in itertools.product(*map(range, first, last)):
            centre, radius = self.ball(shape3(place))
            around = Box.sized(
                [int(c - radius) for c in centre], (2 * int(radius) + 3,) * 3
            ).intersection(box)
            if not around.size:
                continue
            axes = np.ogrid[around.slices]
            squares = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True))
            drawn[around.relative_to(box.start).slices] |= squares <= radius**2
        return drawn

    def image(self, box: Box) -> NDArray[np.uint8]:
        """Return the grey values of a box, (z, y, x) uint8; the noise is that of the box."""
        random = np.random.default_rng([self.seed, 1, *box.start])
        values = random.standard_normal(box.shape, dtype=np.float32) * NOISE
        values += np.asarray(GREY, np.float32)[self.classes(box)]
        return values.clip(0, 255).astype(np.uint8)

    def write(self, path: Path, grid: Grid, *, truth: bool = False) -> None:
        """Write the image, or its truth, as OME-Zarr, block by block."""
        draw = self.classes if truth else self.image
        with create(path, grid, dtype=np.uint8, shard=BLOCK, labels=truth) as array:
            for box in grid.box.tiles(BLOCK):
                array[box.slices] = draw(box)
