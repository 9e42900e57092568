"""A phantom landscape: true reflectance, the degraded image of a first stage, radar and classes.

Infinite and deterministic: a value depends on seed, biome, month and position only, so that any
part can be drawn alone, and adjacent parts match.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import ConfigError
from parafovea_phantoms.landscapes.biomes import biome_of, day_of
from parafovea_phantoms.landscapes.degradation import REACH, Acquisition
from parafovea_phantoms.landscapes.ground import LANDCOVER, Cover
from parafovea_phantoms.landscapes.radar import backscatter, radar_image
from parafovea_phantoms.landscapes.random_fields import Field
from parafovea_phantoms.landscapes.spectra import BANDS
from parafovea_phantoms.landscapes.surface import surface
from parafovea_phantoms.landscapes.variety import varied

#: Names of the water classes, by code.
WATER_CLASSES = ("other", "water")

#: Sample points along an axis of a pixel, whose value is their mean, so that edges are mixed.
POINTS = 2

#: Pixels along an axis that are drawn at a time, to bound memory.
BLOCK = 256

__all__ = [
    "BANDS",
    "LANDCOVER",
    "WATER_CLASSES",
    "Landscape",
    "LandscapeView",
    "landscape_mosaic",
]


@dataclass(frozen=True)
class LandscapeView:
    """A part of a landscape on a date.

    Parameters
    ----------
    truth : ndarray
        (band, y, x) float32 reflectance in [0, 1], B02 B03 B04 B08.
    degraded : ndarray
        The degraded image of a first stage, in the same form.
    radar : ndarray
        (VV and VH, y, x) float32 in [0, 1]: decibels from -25 to 0 and from -32 to -5.
    classes : ndarray
        (y, x) uint8, an index into `WATER_CLASSES`.
    landcover : ndarray
        (y, x) uint8, an index into `LANDCOVER`.
    """

    truth: NDArray[np.float32]
    degraded: NDArray[np.float32]
    radar: NDArray[np.float32]
    classes: NDArray[np.uint8]
    landcover: NDArray[np.uint8]


@dataclass(frozen=True)
class Landscape:
    """A landscape in a month; the same seed and biome are the same location in every month.

    Parameters
    ----------
    seed : int
        Random seed, not negative.
    biome : int
        Code of the biome, from 0 to 15.
    month : int
        Month, from 1 to 12.
    pixel_size : float
        Side of a pixel, in metres.
    variety : float
        Chance and strength of what is rare, 0 to 1: see `variety.varied`.

    Raises
    ------
    ConfigError
        If one of them is out of range.
    """

    seed: int
    biome: int
    month: int
    pixel_size: float = 10.0
    variety: float = 0.0

    def __post_init__(self) -> None:
        biome_of(self.biome)
        day_of(self.month)
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} is negative: use 0 or a positive integer")
        if not 1 <= self.pixel_size <= 100:
            raise ConfigError(f"pixel size {self.pixel_size} is out of range: use 1 to 100 metres")
        if not 0 <= self.variety <= 1:
            raise ConfigError(f"variety {self.variety} is out of range: use 0 to 1")

    def view(self, row: int, column: int, shape: tuple[int, int]) -> LandscapeView:
        """Return a part of the landscape.

        Parameters
        ----------
        row, column : int
            Row and column of its first pixel, of any sign; rows increase to the south, columns to
            the east.
        shape : tuple of int
            Pixels along y and x.

        Returns
        -------
        LandscapeView
            The part; its values do not depend on its extent.
        """
        out = LandscapeView(
            np.empty((4, *shape), np.float32),
            np.empty((4, *shape), np.float32),
            np.empty((2, *shape), np.float32),
            np.empty(shape, np.uint8),
            np.empty(shape, np.uint8),
        )
        for top in range(0, shape[0], BLOCK):
            for left in range(0, shape[1], BLOCK):
                place = (slice(top, top + BLOCK), slice(left, left + BLOCK))
                part = out.landcover[place].shape
                drawn = self._drawn(row + top, column + left, (part[0], part[1]))
                for name, values in vars(drawn).items():
                    getattr(out, name)[..., place[0], place[1]] = values
        return out

    def _drawn(self, row: int, column: int, shape: tuple[int, int]) -> LandscapeView:
        """Draw a part in one piece."""
        first = (row - REACH, column - REACH)
        rows, columns = (
            np.arange(start, start + n + 2 * REACH) for start, n in zip(first, shape, strict=True)
        )
        places = self._points(rows), self._points(columns)
        fine = surface(self.seed, biome_of(self.biome), self.month, *places)
        if self.variety:
            names = (self.month, self.biome, round(100 * self.variety))
            fine = varied(fine, self.seed, names, *places)
        inner = slice(REACH, -REACH)
        # rounded to 1/10000, like the integers in ESA's products
        truth = np.round(_averaged(fine.reflectance), 4)
        intensity = _averaged(backscatter(fine))[:, inner, inner]
        rows, columns = rows[inner], columns[inner]
        acquisition = Acquisition.of(self.seed, month=self.month, biome=self.biome)
        y, x = (self.pixel_size * (places.astype(np.float64) + 0.5) for places in (rows, columns))
        landcover = _commonest(fine.ground.cover)[inner, inner]
        radar = radar_image(intensity, rows, columns, seed=self.seed, month=self.month)
        return LandscapeView(
            truth[:, inner, inner].astype(np.float32),
            acquisition.degraded(truth, rows, columns, y, x).astype(np.float32),
            radar.astype(np.float32),
            (landcover == Cover.WATER).astype(np.uint8),
            landcover,
        )

    def _points(self, pixels: NDArray[np.int64]) -> Field:
        """Return the positions of the sample points of pixels, in metres."""
        inside = (np.arange(POINTS) + 0.5) / POINTS
        places: Field = ((pixels[:, None] + inside) * self.pixel_size).ravel()
        return places


def _averaged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of pixels (channel, y, x) over their sample points."""
    total = sum(
        values[:, down::POINTS, right::POINTS] for down in range(POINTS) for right in range(POINTS)
    )
    return np.asarray(total / POINTS**2)


def _commonest(cover: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the most common class of each pixel (y, x); ties go to the lower code."""
    shares = _averaged(np.stack([(cover == each).astype(np.float64) for each in Cover]))
    commonest: NDArray[np.uint8] = shares.argmax(axis=0).astype(np.uint8)
    return commonest


def landscape_mosaic(
    seed: int, shape: tuple[int, int], month: int, biome: int, *, pixel_size: float = 10.0
) -> LandscapeView:
    """Return a landscape in one piece; see `Landscape.view` for parts.

    Parameters
    ----------
    seed : int
        Random seed, not negative.
    shape : tuple of int
        Pixels along y and x.
    month : int
        Month, from 1 to 12.
    biome : int
        Code of the biome, from 0 to 15.
    pixel_size : float
        Side of a pixel, in metres.

    Raises
    ------
    ConfigError
        If one of them is out of range.
    """
    return Landscape(seed, biome, month, pixel_size).view(0, 0, shape)
