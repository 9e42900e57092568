"""Image degradation of a first stage: blur, spectral shift, cloud shadow, stripes, noise.

Each is a deterministic function of an image and its parameters. A network can undo much of it: the
spectral shift depends on month and biome, context distinguishes a shadow from dark ground, stripes
run along whole columns. The finest detail and the noise are lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtri

from parafovea_phantoms.landscapes.random_fields import Field, hashed, key_of, mixed, normal, rough
from parafovea_phantoms.lattice import smoothstep

#: An image (band, y, x), B02 B03 B04 B08.
Image = NDArray[np.float64]

#: Radius of the widest blur in pixels.
REACH = 8

#: Relative strength of a cloud shadow in each band; it is lit by the sky, which is blue.
SHADOW_BANDS = (0.78, 0.88, 0.94, 1.0)


@dataclass(frozen=True)
class Shift:
    """A spectral shift: mixing of the bands, then gains and offsets.

    Parameters
    ----------
    mixing : ndarray
        (output band, input band), each row with sum 1.
    gain, offset : ndarray
        (band,).
    """

    mixing: NDArray[np.float64]
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]


def spectral_shift(month: int, biome: int) -> Shift:
    """Return the spectral shift for a month and a biome, the same for every seed.

    Gains vary over the year, with a different phase for each band; haze adds most to blue and at
    low sun; the biome determines how much adjacent bands mix, and how much the near infrared is
    drawn to that of an average landscape.
    """
    year = 2 * math.pi * (month - 1) / 12
    kind = 2 * math.pi * biome / 16
    gain = 1 + np.array(
        [
            0.08 * math.cos(year),
            0.07 * math.cos(year - 1.0),
            0.12 * math.cos(year - 2.0) + 0.05 * math.cos(kind),
            0.10 * math.cos(year - 3.3) + 0.08 * math.sin(kind),
        ]
    )
    haze = 0.014 * (1 + 0.7 * math.cos(year))
    drawn = 0.10 + 0.08 * math.cos(kind + 1)
    offset = haze * np.array([1.0, 0.75, 0.55, 0.2]) + np.array([0, 0, 0, 0.26 * drawn])
    gain[3] *= 1 - drawn
    far = 0.06 + 0.05 * (1 + math.sin(2 * kind))
    mixing = np.eye(4) * (1 - far)
    mixing[0, 1] = mixing[3, 2] = far
    mixing[1, 0] = mixing[1, 2] = far / 2
    mixing[2, 1], mixing[2, 3] = 0.7 * far, 0.3 * far
    return Shift(mixing, gain, offset)


def blurred(image: Image, sigma: float) -> Image:
    """Return an image blurred by a Gaussian of `sigma` pixels in all bands.

    Border pixels are repeated for results within `REACH` pixels of the border.
    """
    planes = [ndimage.gaussian_filter(band, sigma, mode="nearest", radius=REACH) for band in image]
    return np.stack(planes)


def shifted(image: Image, shift: Shift) -> Image:
    """Return an image with its bands mixed and scaled: gain (mixing · image) + offset."""
    # in a fixed order, so that a pixel's value does not depend on the size of the image
    bands = [
        sum(shift.mixing[out, band] * image[band] for band in range(len(image)))
        for out in range(len(image))
    ]
    return np.stack(bands) * shift.gain[:, None, None] + shift.offset[:, None, None]


def shaded(image: Image, shadow: Field) -> Image:
    """Return an image with a cloud shadow.

    Parameters
    ----------
    image : ndarray
        (band, y, x).
    shadow : ndarray
        (y, x) in [0, 1]: the share of near infrared light that is missing.
    """
    return image * (1 - np.array(SHADOW_BANDS)[:, None, None] * shadow)


def striped(image: Image, gains: NDArray[np.float64]) -> Image:
    """Return an image with a different gain in each column, like the detectors of a line camera.

    Parameters
    ----------
    image : ndarray
        (band, y, x).
    gains : ndarray
        (band, x), about 1.
    """
    return image * gains[:, None, :]


def noisy(image: Image, white: Image, *, dark: float, bright: float) -> Image:
    """Return an image with signal-dependent noise.

    Parameters
    ----------
    image : ndarray
        (band, y, x) reflectance.
    white : ndarray
        (band, y, x) noise of mean 0 and variance 1.
    dark : float
        Standard deviation at a reflectance of 0.
    bright : float
        Square root of the variance that a reflectance of 1 adds.
    """
    return image + white * np.sqrt(dark**2 + bright**2 * np.clip(image, 0, 1))


@dataclass(frozen=True)
class Acquisition:
    """The degradation of one landscape on one date, shared by all of its tiles.

    Parameters
    ----------
    key : int
        Random key of the acquisition.
    shift : Shift
        Spectral shift of the month and biome.
    """

    key: int
    shift: Shift

    @classmethod
    def of(cls, seed: int, *, month: int, biome: int) -> Acquisition:
        """Return the acquisition of a landscape in a month."""
        return cls(key_of(seed, "acquisition", month, biome), spectral_shift(month, biome))

    @property
    def sigma(self) -> float:
        """Width of the blur, 0.9 to 1.3 pixels."""
        return 0.9 + 0.4 * self._chance("blur")

    @property
    def clouded(self) -> float:
        """Share of the land in shadow, 0.03 to 0.2."""
        return 0.03 + 0.17 * self._chance("clouds")

    def _key(self, name: str) -> int:
        return key_of(self.key, name)

    def _chance(self, name: str) -> float:
        return self._key(name) * 2.0**-32

    def shadow(self, y: Field, x: Field) -> Field:
        """Return the shadow (y, x), 0 to 0.45, at positions (y,) and (x,) in metres."""
        cover = rough(self._key("shadow"), y, x, 750)
        # half of the depth is at the edge, where the field has the quantile of the clouded share
        edge = float(ndtri(1 - self.clouded)) - 0.4
        depth = 0.25 + 0.2 * self._chance("depth")
        thick = smoothstep(cover.astype(np.float32), edge, edge + 0.8)
        return depth * thick.astype(np.float64)

    def gains(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the gain of each band in each column of the landscape: (band, x)."""
        strength = 0.008 + 0.014 * self._chance("stripes")
        bands = np.arange(4)[:, None]
        each = normal(hashed(self._key("columns"), bands, columns[None, :]))
        # neighbouring detectors are alike: groups of six share a part of their error
        group = normal(hashed(self._key("groups"), bands, columns[None, :] // 6))
        return 1 + strength * (0.6 * each + 0.8 * group)

    def white(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Image:
        """Return white noise at pixels of the landscape: (band, y, x)."""
        bits = hashed(self._key("noise"), rows[:, None], columns[None, :])
        return np.stack([normal(mixed(bits, band)) for band in range(1, 5)])

    def degraded(
        self,
        truth: Image,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        y: Field,
        x: Field,
    ) -> Image:
        """Return the degraded image of a part of the landscape.

        Parameters
        ----------
        truth : ndarray
            (band, y, x), `REACH` pixels larger on all sides.
        rows, columns : ndarray
            Pixels of the landscape, (y,) and (x,).
        y, x : ndarray
            Positions of the pixels, in metres.
        """
        inner = slice(REACH, -REACH)
        image = blurred(truth, self.sigma)[:, inner, inner]
        image = shifted(image, self.shift)
        image = shaded(image, self.shadow(y, x))
        image = striped(image, self.gains(columns))
        dark = 0.002 + 0.002 * self._chance("level")
        image = noisy(image, self.white(rows, columns), dark=dark, bright=0.012)
        return np.clip(image, 0, 1)
