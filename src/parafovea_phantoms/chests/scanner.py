"""Simulation of the CT scanner: blur and correlated noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parafovea.geometry.grid import Box, Vector
from parafovea_phantoms.chests import tissues
from parafovea_phantoms.chests.plan import Chest
from parafovea_phantoms.chests.random_streams import LUNG_TEXTURE, NOISE
from parafovea_phantoms.chests.supersampling import SupersampledGrid
from parafovea_phantoms.lattice import Field, smoothstep, white_planes

Kernel = NDArray[np.float64]

#: Standard deviation in millimetres of the in-plane blur, of the lung's fine texture, and of the
#: noise grain; side of the window for the low-frequency part that the noise lacks.
BLUR, GRAIN, NOISE_GRAIN, NOISE_WINDOW = 0.45, 1.1, 0.5, 5.0

#: Standard deviation of the noise in the middle of the body for slices of 1 mm, in Hounsfield
#: units, and its limits.
NOISE_LEVEL, LEAST_NOISE, MOST_NOISE = 17.0, 7.0, 26.0

#: Share of the mean over that window that is subtracted from the noise.
DRIFT = 0.7

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
    image = values + np.float32(tissues.LUNG_FINE) * lung_texture * _grain(seed, slab, spacing)
    for axis in (1, 2):
        image = ndimage.correlate1d(image, _binomial(BLUR, spacing[axis]), axis=axis)
    deep = fine.lattice.sample(chest.thorax.skin, slab)
    strength = np.float32(noise_level(spacing[0])) * (
        np.float32(0.5) + np.float32(0.5) * smoothstep(deep, -20, 90)
    )
    image = image + strength * noise(seed, slab, spacing)
    units: NDArray[np.int16] = np.rint(np.clip(image, LOWEST, HIGHEST)).astype(np.int16)
    return units


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


def noise(seed: int, slab: Box, spacing: Vector) -> Field:
    """Return noise of variance 1 with the spectrum of filtered back-projection.

    Parameters
    ----------
    seed : int
        Seed of the phantom.
    slab : Box
        Box of whole planes; the noise of a plane does not depend on the slab.
    spacing : tuple of float
        Distance between voxels along z, y, x, in millimetres.
    """
    margin = 1 if spacing[0] < SEPARATE else 0
    field = white_planes(seed, NOISE, slab.expanded((margin, 0, 0)))
    gain = 1.0
    if margin:
        field = ndimage.correlate1d(field, _SLICES, axis=0, mode="wrap")[margin:-margin]
        gain = _squares(_SLICES)
    near = [_binomial(NOISE_GRAIN, s) for s in spacing[1:]]
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
    gain *= own - 2 * DRIFT * common + DRIFT**2 * taken
    grainy: Field = (smooth - np.float32(DRIFT) * slow) * np.float32(1 / math.sqrt(gain))
    return grainy


def _binomial(deviation: float, spacing: float) -> Kernel:
    """Return a three-tap kernel with a given standard deviation, as far as possible."""
    side = min(0.25, 0.5 * (deviation / spacing) ** 2)
    return np.array([side, 1 - 2 * side, side])


def _squares(kernel: Kernel) -> float:
    return _product(kernel, kernel)


def _product(first: Kernel, second: Kernel) -> float:
    return math.fsum(float(a) * float(b) for a, b in zip(first, second, strict=True))
