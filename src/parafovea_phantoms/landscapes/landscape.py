"""A landscape as Sentinel-2 sees it, with the image of a poor first stage, its radar and its truth.

Seeded, without a border, and the same wherever it is cut: a value depends on the seed, the biome,
the month and the place, so that any part can be drawn alone and parts that touch fit each other.
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

#: Names of the classes of a view, by code.
WATER_CLASSES = ("other", "water")

#: Points along an axis of a pixel: its value is the mean over them, so that edges are mixed.
POINTS = 2

#: Pixels along an axis of a part that is drawn at once; bounds the memory.
BLOCK = 256

__all__ = [
    "BANDS",
    "LANDCOVER",
    "WATER_CLASSES",
    "Landscape",
    "View",
    "landscape_mosaic",
]


@dataclass(frozen=True)
class View:
    """A part of a landscape on a date.

    Parameters
    ----------
    truth : ndarray
        (band, y, x) float32 reflectance in [0, 1], B02 B03 B04 B08.
    degraded : ndarray
        The same as a first stage shows it.
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
    """A landscape in a month; the same seed and biome are the same place in every month.

    Parameters
    ----------
    seed : int
        Not negative.
    biome : int
        Code from 0 to 15.
    month : int
        1 to 12.
    pixel_size : float
        Side of a pixel, in metres.

    Raises
    ------
    ConfigError
        If one of them is out of range.
    """

    seed: int
    biome: int
    month: int
    pixel_size: float = 10.0

    def __post_init__(self) -> None:
        biome_of(self.biome)
        day_of(self.month)
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} is negative: use 0 or a positive whole number")
        if not 1 <= self.pixel_size <= 100:
            raise ConfigError(
                f"pixel size {self.pixel_size} does not show a landscape: use 1 to 100 metres"
            )

    def view(self, row: int, column: int, shape: tuple[int, int]) -> View:
        """Return a part of the landscape.

        Parameters
        ----------
        row, column : int
            Of its first pixel, of any sign; rows count to the south, columns to the east.
        shape : tuple of int
            Pixels along y and x.

        Returns
        -------
        View
            Whose values do not depend on where the part begins and ends.
        """
        out = View(
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

    def _drawn(self, row: int, column: int, shape: tuple[int, int]) -> View:
        """Return a part that is drawn at once."""
        first = (row - REACH, column - REACH)
        rows, columns = (
            np.arange(start, start + n + 2 * REACH) for start, n in zip(first, shape, strict=True)
        )
        fine = surface(
            self.seed, biome_of(self.biome), self.month, self._points(rows), self._points(columns)
        )
        inner = slice(REACH, -REACH)
        # stored as integers of 1/10000, as the agency's products are
        truth = np.round(_averaged(fine.reflectance), 4)
        intensity = _averaged(backscatter(fine))[:, inner, inner]
        rows, columns = rows[inner], columns[inner]
        acquisition = Acquisition.of(self.seed, month=self.month, biome=self.biome)
        y, x = (self.pixel_size * (places.astype(np.float64) + 0.5) for places in (rows, columns))
        landcover = _commonest(fine.ground.cover)[inner, inner]
        radar = radar_image(intensity, rows, columns, seed=self.seed, month=self.month)
        return View(
            truth[:, inner, inner].astype(np.float32),
            acquisition.degraded(truth, rows, columns, y, x).astype(np.float32),
            radar.astype(np.float32),
            (landcover == Cover.WATER).astype(np.uint8),
            landcover,
        )

    def _points(self, pixels: NDArray[np.int64]) -> Field:
        """Return where the points of pixels lie, in metres."""
        inside = (np.arange(POINTS) + 0.5) / POINTS
        places: Field = ((pixels[:, None] + inside) * self.pixel_size).ravel()
        return places


def _averaged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of pixels (channel, y, x) from their points."""
    total = sum(
        values[:, down::POINTS, right::POINTS] for down in range(POINTS) for right in range(POINTS)
    )
    return np.asarray(total / POINTS**2)


def _commonest(cover: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the commonest class of each pixel (y, x); the lower code where two are."""
    shares = _averaged(np.stack([(cover == each).astype(np.float64) for each in Cover]))
    commonest: NDArray[np.uint8] = shares.argmax(axis=0).astype(np.uint8)
    return commonest


def landscape_mosaic(
    seed: int, shape: tuple[int, int], month: int, biome: int, *, pixel_size: float = 10.0
) -> View:
    """Return a landscape in one piece; `Landscape.view` gives any part of it alone.

    Parameters
    ----------
    seed : int
        Not negative.
    shape : tuple of int
        Pixels along y and x.
    month : int
        1 to 12.
    biome : int
        Code from 0 to 15.
    pixel_size : float
        Side of a pixel, in metres.

    Raises
    ------
    ConfigError
        If one of them is out of range.
    """
    return Landscape(seed, biome, month, pixel_size).view(0, 0, shape)
