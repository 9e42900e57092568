"""A phantom cell in electron microscopy that requires context to segment.

Three pairs of structures are locally identical and differ only in their location: mitochondria and
nuclear bodies; the plasma membrane and sheets of the reticulum; cytoplasm and the clear parts of
the nucleus. A view of 24 voxels around a blob has the same texture in both places; the envelope,
the chromatin and the exterior of the cell, which distinguish them, are farther away and visible at
a quarter of the resolution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parafovea.errors import ConfigError
from parafovea.geometry.grid import Box, Grid, Shape, Vector, shape3, vector3
from parafovea_phantoms.cells.anatomy import HALF_CISTERNA, Anatomy, plan_cell
from parafovea_phantoms.cells.blobs import Blob, DrawnBlob, draw_blob
from parafovea_phantoms.lattice import Field, Lattice, smoothstep, white_planes
from parafovea_phantoms.phantom import Phantom

CELL_CLASSES = ("background", "mitochondrion", "nucleus", "membrane")
BACKGROUND, MITOCHONDRION, NUCLEUS, MEMBRANE = range(4)

#: Planes that are drawn at a time, to bound memory.
SLAB = 32

#: Numbers of the random generators of the voxels; those of the anatomy are smaller.
TEXTURE, RIBOSOMES, SHOTS = 100, 101, 102

#: Binomial weights: blurs of variance 1 and 1/2 voxel², exact in floating point.
TEXTURE_BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
FOCUS_BLUR = (1 / 4, 2 / 4, 1 / 4)


def cell_phantom(seed: int, *, shape: Shape, spacing: Vector, unit: str = "nanometer") -> Phantom:
    """Return a phantom cell with its ground truth.

    Classes: 0 background (cytoplasm with its reticulum, and what lies outside of the cell),
    1 mitochondrion, 2 nucleus (its envelope, chromatin and bodies included), 3 plasma membrane.
    Sizes are in steps of the finest spacing: a mitochondrion is about 14 of them thick. A volume
    of less than about 64 of them along two axes may lack mitochondria or bodies.

    Parameters
    ----------
    seed : int
        Random seed, not negative. The same seed, shape and spacing give the same bytes.
    shape : tuple of int
        Voxels along z, y, x.
    spacing : tuple of float
        Distance between voxels along z, y, x, in `unit`.
    unit : str
        Name of the unit of length; used in the grid only.

    Returns
    -------
    Phantom
        `objects` are the mitochondria, `decoys` the centres of the nuclear bodies.

    Raises
    ------
    ConfigError
        If the seed is negative.
    GridError
        If the shape, spacing or unit are invalid.
    """
    if seed < 0:
        raise ConfigError(f"seed {seed} is negative: use 0 or a positive integer")
    grid = Grid(shape3(shape), vector3(spacing, "spacing"), unit=unit)
    anatomy = plan_cell(seed, Lattice.over(grid))
    mitochondria = _drawn(anatomy, anatomy.mitochondria, grid.shape)
    bodies = _drawn(anatomy, anatomy.bodies, grid.shape)
    image = np.empty(grid.shape, dtype=np.uint8)
    classes = np.empty(grid.shape, dtype=np.uint8)
    for slab in grid.box.tiles((SLAB, *grid.shape[1:])):
        image[slab.slices] = _slab_image(
            seed, grid, slab, anatomy=anatomy, blobs=mitochondria + bodies
        )
        classes[slab.slices] = _slab_classes(anatomy, slab)
    objects = np.zeros(grid.shape, dtype=np.uint32)
    for number, blob in enumerate(mitochondria, start=1):
        objects[blob.box.slices][blob.mask] = number
    classes[objects > 0] = MITOCHONDRION
    decoys = tuple(_middle(blob) for blob in bodies)
    return Phantom(image, classes, objects, grid, CELL_CLASSES, decoys)


def _drawn(anatomy: Anatomy, blobs: tuple[Blob, ...], shape: Shape) -> list[DrawnBlob]:
    drawn = (draw_blob(b, anatomy.lattice, shape=shape, wobble=anatomy.wobble) for b in blobs)
    return [blob for blob in drawn if blob is not None]


def _middle(blob: DrawnBlob) -> Vector:
    """Return the mean voxel index of a blob, like the centroid of an object."""
    places = np.argwhere(blob.mask).mean(axis=0)
    return vector3([float(p) + a for p, a in zip(places, blob.box.start, strict=True)])


def _slab_classes(anatomy: Anatomy, slab: Box) -> NDArray[np.uint8]:
    """Return the classes of a slab, without the mitochondria."""
    nucleus = anatomy.lattice.sample(anatomy.nucleus, slab)
    cell = anatomy.lattice.sample(anatomy.cell, slab)
    classes = np.full(slab.shape, BACKGROUND, dtype=np.uint8)
    classes[nucleus >= -HALF_CISTERNA] = NUCLEUS
    classes[np.abs(cell) <= HALF_CISTERNA] = MEMBRANE
    return classes


def _slab_image(
    seed: int, grid: Grid, slab: Box, *, anatomy: Anatomy, blobs: list[DrawnBlob]
) -> NDArray[np.uint8]:
    """Return the grey values of a slab; they do not depend on how the volume is cut."""
    wide = slab.expanded((1, 0, 0)).intersection(grid.box)
    lattice = anatomy.lattice
    grain = lattice.sample(anatomy.grain, wide)
    grey = lattice.sample(anatomy.base, wide) + grain * _texture(seed, wide)
    grey = grey + _cisternae(anatomy, wide)
    for blob in blobs:
        common = blob.box.intersection(wide)
        if common.size:
            grey[common.relative_to(wide.start).slices] += blob.shade[
                common.relative_to(blob.box.start).slices
            ]
    for axis in range(3):
        grey = ndimage.correlate1d(grey, FOCUS_BLUR, axis=axis, mode="nearest")
    grey = grey[slab.relative_to(wide.start).slices]
    shots = white_planes(seed, SHOTS, slab)
    # Shot noise grows as the root of the signal.
    grey = grey + 6.5 * shots * np.sqrt(np.maximum(grey, 0) * np.float32(1 / 128))
    levels: NDArray[np.uint8] = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    return levels


def _cisternae(anatomy: Anatomy, box: Box) -> Field:
    """Return the grey value of all double membranes: dark, bright, dark, the same everywhere."""
    lattice = anatomy.lattice
    level = lattice.sample(anatomy.level, box)
    sheet = (level - np.rint(level)) / lattice.sample(anatomy.slope, box)
    # At the end of a sheet of the reticulum, its two membranes close to a round edge.
    beyond = np.maximum(0, HALF_CISTERNA - lattice.sample(anatomy.allowed, box))
    depth = np.sqrt(sheet * sheet + beyond * beyond)
    depth = np.minimum(depth, np.abs(lattice.sample(anatomy.nucleus, box)))
    depth = np.minimum(depth, np.abs(lattice.sample(anatomy.cell, box)))
    gap = 1 - smoothstep(depth, 0.4, 1.4)
    wall = 1 - smoothstep(depth, HALF_CISTERNA - 0.6, HALF_CISTERNA + 0.4)
    grey: Field = 20 * gap - 58 * (wall - gap)
    return grey


def _texture(seed: int, box: Box) -> Field:
    """Return the fine texture that cytoplasm and nucleus share: blurred noise and ribosomes."""
    padded = box.expanded((2, 0, 0))
    noise = white_planes(seed, TEXTURE, padded)
    for axis in range(3):
        noise = ndimage.correlate1d(noise, TEXTURE_BLUR, axis=axis, mode="wrap")
    noise = noise[2:-2]
    specks = white_planes(seed, RIBOSOMES, box)
    # Ribosomes are denser where the texture is dark.
    return 52 * noise - 110 * smoothstep(specks - 3 * noise, 1.9, 2.5)
