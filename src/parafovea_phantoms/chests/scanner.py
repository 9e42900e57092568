"""Simulation of the CT scanner: blur and correlated noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parafovea.geometry.grid import Box, Vector
from parafovea_phantoms.chests.plan import Chest
from parafovea_phantoms.chests.random_streams import LUNG_TEXTURE, NOISE
from parafovea_phantoms.chests.reconstruction import (
    EDGE_WIDTH,
    STANDARD,
    Kernel,
    Reconstruction,
    bell,
)
from parafovea_phantoms.chests.supersampling import SupersampledGrid
from parafovea_phantoms.lattice import Field, smoothstep, white_planes

#: Standard deviation in millimetres of the lung's fine texture; side of the window for the
#: low-frequency part that the noise lacks.
GRAIN, NOISE_WINDOW = 1.1, 5.0

#: Standard deviation of the noise in the middle of the body for slices of 1 mm, in Hounsfield
#: units, and its limits.
NOISE_LEVEL, LEAST_NOISE, MOST_NOISE = 17.0, 7.0, 26.0

#: Slices thicker than this, in millimetres, have independent noise; weights for thinner ones.
SEPARATE = 2.0
_SLICES = np.array([0.25, 0.5, 0.25])

#: Range of stored Hounsfield units.
LOWEST, HIGHEST = -1024, 3071


def scanned(
    seed: int,
    values: Field,
    lung_texture: Field,
    slab: Box,
    *,
    chest: Chest,
    fine: SupersampledGrid,
) -> NDArray[np.int16]:
    """Return the image of a slab; it does not depend on how the volume is cut.

    Parameters
    ----------
    seed : int
        Seed of the phantom.
    values, lung_texture : ndarray
        (z, y, x) float32 Hounsfield units, and the share of lung texture.
    slab : Box
        Box of whole planes.
    chest : Chest
        Anatomy of the chest.
    fine : SupersampledGrid
        Grid of the volume and its supersampled grid.
    """
    spacing = fine.lattice.voxel
    scanner, fineness = chest.look.reconstruction, chest.look.densities.lung_fine
    image = values + np.float32(fineness) * lung_texture * _grain(seed, slab, spacing)
    image = _blurred(image, scanner.blur, spacing)
    if scanner.edge:
        image += np.float32(scanner.edge) * (image - _blurred(image, EDGE_WIDTH, spacing))
    deep = fine.lattice.sample(chest.thorax.skin, slab)
    level = scanner.noise * noise_level(max(scanner.thickness or spacing[0], 0.6))
    strength = np.float32(level) * (np.float32(0.5) + np.float32(0.5) * smoothstep(deep, -20, 90))
    image = image + strength * noise(seed, slab, spacing, scanner)
    if scanner.round_view:
        image[:, _corners(image.shape, spacing)] = LOWEST
    units: NDArray[np.int16] = np.rint(np.clip(image, LOWEST, HIGHEST)).astype(np.int16)
    return units


def _blurred(image: Field, deviation: float, spacing: Vector) -> Field:
    """Return an image blurred within its planes, by a standard deviation in millimetres."""
    for axis in (1, 2):
        image = ndimage.correlate1d(image, bell(deviation, spacing[axis]), axis=axis)
    return image


def _corners(shape: tuple[int, ...], spacing: Vector) -> NDArray[np.bool_]:
    """Return the mask (y, x) of what lies outside of the circle in the field of view."""
    y, x = (
        ((np.arange(n) - (n - 1) / 2) * s) ** 2 for n, s in zip(shape[1:], spacing[1:], strict=True)
    )
    radius = max(n * s for n, s in zip(shape[1:], spacing[1:], strict=True)) / 2
    corners: NDArray[np.bool_] = y[:, None] + x > radius**2
    return corners


def _grain(seed: int, slab: Box, spacing: Vector) -> Field:
    """Return the fine texture of lung: noise of variance 1, blurred isotropically."""
    sizes = [2 * math.floor(math.sqrt(4 * (GRAIN / s) ** 2 + 1) / 2) + 1 for s in spacing]
    margin = min(3 * (sizes[0] // 2), 8)
    sizes[0] = min(sizes[0], 5)
    field = white_planes(seed, LUNG_TEXTURE, slab.expanded((margin, 0, 0)))
    gain = 1.0
    for axis, size in enumerate(sizes):
        box = np.full(size, 1 / size)
        kernel = np.convolve(np.convolve(box, box), box)
        gain *= _squares(kernel)
        field = ndimage.correlate1d(field, kernel, axis=axis, mode="wrap")
    grain: Field = field[margin : margin + slab.shape[0]] * np.float32(1 / math.sqrt(gain))
    return grain


def noise_level(slice_spacing: float) -> float:
    """Return the noise in the middle of the body in Hounsfield units, by slice spacing in mm.

    The number of photons is proportional to the thickness of a slice.
    """
    return min(max(NOISE_LEVEL / math.sqrt(slice_spacing), LEAST_NOISE), MOST_NOISE)


def noise(seed: int, slab: Box, spacing: Vector, scanner: Reconstruction = STANDARD) -> Field:
    """Return noise of variance 1 with the spectrum of filtered back-projection.

    Parameters
    ----------
    seed : int
        Seed of the phantom.
    slab : Box
        Box of whole planes; the noise of a plane does not depend on the slab.
    spacing : tuple of float
        Distance between voxels along z, y, x, in millimetres.
    scanner : Reconstruction
        Grain of the noise, and thickness of the slices: thick ones overlap and share noise.
    """
    slices = _SLICES if spacing[0] < SEPARATE else np.ones(1)
    if scanner.thickness:
        slices = scanner.profile(spacing[0])
    margin = len(slices) // 2
    field = white_planes(seed, NOISE, slab.expanded((margin, 0, 0)))
    gain = 1.0
    if margin:
        field = ndimage.correlate1d(field, slices, axis=0, mode="wrap")[margin:-margin]
        gain = _squares(slices)
    near = [bell(scanner.grain, s) for s in spacing[1:]]
    wide = [np.full(2 * math.ceil(NOISE_WINDOW / s / 2) + 1, 1.0) for s in spacing[1:]]
    drift = [np.convolve(n, w / w.size) for n, w in zip(near, wide, strict=True)]
    smooth, slow = field, field
    for axis in (0, 1):
        smooth = ndimage.correlate1d(smooth, near[axis], axis=axis + 1, mode="wrap")
        slow = ndimage.correlate1d(slow, drift[axis], axis=axis + 1, mode="wrap")
    padded = [np.pad(n, (len(d) - len(n)) // 2) for n, d in zip(near, drift, strict=True)]
    own = _squares(padded[0]) * _squares(padded[1])
    common = _product(padded[0], drift[0]) * _product(padded[1], drift[1])
    taken = _squares(drift[0]) * _squares(drift[1])
    drop = scanner.drift
    gain *= own - 2 * drop * common + drop**2 * taken
    grainy: Field = (smooth - np.float32(drop) * slow) * np.float32(1 / math.sqrt(gain))
    return grainy


def _squares(kernel: Kernel) -> float:
    return _product(kernel, kernel)


def _product(first: Kernel, second: Kernel) -> float:
    return math.fsum(float(a) * float(b) for a, b in zip(first, second, strict=True))
