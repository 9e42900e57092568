"""How a scanner reconstructs slices: kernel, dose, thickness, and the field of view."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float64]

#: Standard deviation in millimetres of the in-plane blur and of the noise grain of the standard
#: kernel.
BLUR, NOISE_GRAIN = 0.45, 0.5

#: Share of the noise's mean over a wide window that the standard kernel subtracts.
DRIFT = 0.7

#: Standard deviation in millimetres of the blur whose difference to the image a sharp kernel adds.
EDGE_WIDTH = 1.6


@dataclass(frozen=True)
class Reconstruction:
    """Settings of a scanner.

    Parameters
    ----------
    noise : float
        Noise relative to that of the standard dose and kernel.
    blur : float
        Standard deviation of the in-plane blur, in millimetres.
    edge : float
        How much of the difference between image and blurred image is added at edges: the
        overshoot of a sharp kernel.
    grain : float
        Standard deviation of the noise grain, in millimetres.
    drift : float
        Share of the low frequencies that the noise lacks.
    thickness : float
        Slice thickness in millimetres; 0 for that of the distance between slices.
    round_view : bool
        Whether nothing is reconstructed outside of the circle in the field of view.
    """

    noise: float = 1.0
    blur: float = BLUR
    edge: float = 0.0
    grain: float = NOISE_GRAIN
    drift: float = DRIFT
    thickness: float = 0.0
    round_view: bool = False

    def profile(self, distance: float) -> Kernel:
        """Return the weights (odd number) of planes in a slice, by their distance in mm.

        Planes are as thick as they are apart. A thicker slice is a box over several of them, as of
        detector rows that are added; a thinner one stays a plane.
        """
        return slice_profile(self.thickness, distance)


#: Settings of the scanner of a plain chest.
STANDARD = Reconstruction()


def slice_profile(thickness: float, distance: float) -> Kernel:
    """Return the share of a slice in each plane around it, (n,) float64 with n odd, sum 1."""
    if thickness <= distance:
        return np.ones(1)
    half = math.ceil(thickness / distance / 2 - 0.5)
    middle = np.arange(-half, half + 1) * distance
    low = np.maximum(middle - distance / 2, -thickness / 2)
    high = np.minimum(middle + distance / 2, thickness / 2)
    weights: Kernel = np.maximum(high - low, 0) / thickness
    return weights


def binomial(deviation: float, spacing: float) -> Kernel:
    """Return a three-tap kernel with a given standard deviation, as far as possible."""
    side = min(0.25, 0.5 * (deviation / spacing) ** 2)
    return np.array([side, 1 - 2 * side, side])


def bell(deviation: float, spacing: float) -> Kernel:
    """Return a kernel of repeated three-tap kernels with a given standard deviation."""
    # The standard kernel is a single one even where voxels are so small that it is too narrow.
    times = 1 if deviation <= NOISE_GRAIN else max(1, math.ceil(2 * (deviation / spacing) ** 2))
    kernel = one = binomial(deviation / math.sqrt(times), spacing)
    for _ in range(times - 1):
        kernel = np.convolve(kernel, one)
    return kernel
