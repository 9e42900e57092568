"""Separable Gaussians, finite differences and eigenvalues, on blocks that carry their margins.

Nothing here pads: a filter that reaches r voxels far returns r voxels less on each side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch

#: Gaussians end at this many sigmas.
TRUNCATE = 3.0

#: Voxels that one banded product yields along its axis.
SPAN = 64

#: An axis with a smaller sigma, in voxels, is not smoothed: its samples would see only themselves.
SMALLEST_SIGMA = 0.3


def gaussian_radius(sigma: float) -> int:
    """Return how many voxels a Gaussian reaches, as scipy.ndimage rounds it; 0 for no smoothing."""
    return 0 if sigma < SMALLEST_SIGMA else int(TRUNCATE * sigma + 0.5)


def gaussian_taps(sigma: float) -> torch.Tensor:
    """Return a sampled Gaussian.

    Parameters
    ----------
    sigma : float
        Standard deviation in voxels; below `SMALLEST_SIGMA` nothing is smoothed.

    Returns
    -------
    torch.Tensor
        (2 * radius + 1,) float64 weights, sum 1.
    """
    radius = gaussian_radius(sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / max(sigma, SMALLEST_SIGMA)) ** 2)
    return taps / taps.sum()


def smooth(volume: torch.Tensor, sigma: Sequence[float]) -> torch.Tensor:
    """Return the volume convolved with a Gaussian, without its margins.

    Each axis is a product with a banded matrix: measured ten times faster than `conv3d` and four
    times faster than shifted sums at 25 taps on a block of 176 voxels, on one CPU core. Products
    run over short spans, which bounds the zeros that are multiplied and the number of terms, so
    that a voxel's value depends on the size of the block around it by rounding at most.

    Parameters
    ----------
    volume : torch.Tensor
        (z, y, x) float32 or float64.
    sigma : sequence of float
        Standard deviation along z, y, x, in voxels.

    Returns
    -------
    torch.Tensor
        (z, y, x), of the same dtype, `gaussian_radius` voxels less on both sides of each axis.
    """
    for axis, width in enumerate(sigma):
        if gaussian_radius(width) > 0:
            volume = _convolved(volume, width, axis)
    return volume


def differences(
    volume: torch.Tensor, ratio: Sequence[float], *, axes: Sequence[int]
) -> list[torch.Tensor]:
    """Return the central differences along each axis, without a margin of one voxel.

    Parameters
    ----------
    volume : torch.Tensor
        (z, y, x) float32.
    ratio : sequence of float
        Finest spacing over the axis' spacing, along z, y, x.
    axes : sequence of int
        The axes to differ along (0 is z); the others lose no margin.

    Returns
    -------
    list of torch.Tensor
        (z, y, x) float32 each: change per voxel of the finest axis.
    """
    return [
        (_shifted(volume, axis, 1, axes) - _shifted(volume, axis, -1, axes)) * (0.5 * ratio[axis])
        for axis in axes
    ]


def laplacian(volume: torch.Tensor, ratio: Sequence[float], *, axes: Sequence[int]) -> torch.Tensor:
    """Return the sum of second differences, without a margin of one voxel.

    Parameters
    ----------
    volume, ratio, axes
        As for `differences`.

    Returns
    -------
    torch.Tensor
        (z, y, x) float32, per squared voxel of the finest axis.
    """
    twice = 2.0 * _shifted(volume, axes[0], 0, axes)
    total = torch.zeros_like(twice)
    for axis in axes:
        around = _shifted(volume, axis, 1, axes) + _shifted(volume, axis, -1, axes)
        total += (around - twice) * ratio[axis] ** 2
    return total


def eigenvalues(tensor: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the eigenvalues of symmetric 2x2 or 3x3 tensors in closed form.

    Trigonometric solution for 3x3 (Smith 1961, doi:10.1145/355578.366316), in float64 because
    the arccosine loses half of the digits where two eigenvalues meet. Measured 5 times faster
    than LAPACK through `torch.linalg.eigvalsh` on one CPU core.

    Parameters
    ----------
    tensor : sequence of torch.Tensor
        Components of equal shape, the upper triangle row by row: (aa, ab, bb) or
        (aa, ab, ac, bb, bc, cc).

    Returns
    -------
    torch.Tensor
        (eigenvalue, ...) float32, descending.
    """
    parts = [part.double() for part in tensor]
    if len(parts) == 3:
        aa, ab, bb = parts
        mean = (aa + bb) / 2
        spread = torch.hypot((aa - bb) / 2, ab)
        return torch.stack([mean + spread, mean - spread]).float()
    aa, ab, ac, bb, bc, cc = parts
    mean = (aa + bb + cc) / 3
    aa, bb, cc = aa - mean, bb - mean, cc - mean
    spread = ((aa * aa + bb * bb + cc * cc + 2 * (ab * ab + ac * ac + bc * bc)) / 6).sqrt()
    determinant = aa * (bb * cc - bc * bc) - ab * (ab * cc - bc * ac) + ac * (ab * bc - bb * ac)
    # Where all three meet there is no angle to find, and any gives the same answer.
    cosine = determinant / (2 * spread**3).clamp_min(torch.finfo(torch.float64).tiny)
    angle = torch.acos(cosine.clamp(-1.0, 1.0)) / 3
    first = mean + 2 * spread * torch.cos(angle)
    last = mean + 2 * spread * torch.cos(angle + 2 * math.pi / 3)
    return torch.stack([first, 3 * mean - first - last, last]).float()


def _convolved(volume: torch.Tensor, sigma: float, axis: int) -> torch.Tensor:
    """Return the volume convolved along one axis with a Gaussian, without its margins."""
    radius = gaussian_radius(sigma)
    total = volume.shape[axis] - 2 * radius
    spans = []
    for start in range(0, total, SPAN):
        rows = min(SPAN, total - start)
        band = _band(sigma, rows, volume.dtype, volume.device)
        part = volume.narrow(axis, start, band.shape[1])
        if axis == 0:
            spans.append((band @ part.flatten(1)).view(rows, *volume.shape[1:]))
        else:
            spans.append(band @ part if axis == 1 else part @ band.T)
    return torch.cat(spans, dim=axis)


@lru_cache(256)
def _band(sigma: float, rows: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return the (rows, rows + taps - 1) matrix whose rows hold the taps, each one further."""
    taps = gaussian_taps(sigma).to(dtype)
    band = taps.new_zeros(rows, rows + len(taps) - 1)
    for offset, tap in enumerate(taps):
        band.diagonal(offset).fill_(tap)
    return band.to(device)


def _shifted(volume: torch.Tensor, axis: int, step: int, axes: Sequence[int]) -> torch.Tensor:
    """Return the volume without a margin of one along `axes`, read `step` further along `axis`."""
    for each in axes:
        start = 1 + step if each == axis else 1
        volume = volume.narrow(each, start, volume.shape[each] - 2)
    return volume
