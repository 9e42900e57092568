"""Surroundings of a tile: its neighbours if tiles have positions, otherwise mirroring."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea.formats.tiles.tile import Position
from parafovea.geometry.grid import Box
from parafovea.geometry.resample import read_reflected_array

logger = logging.getLogger(__name__)

#: Tolerated deviation of tiles from a common pixel lattice, as a fraction of a pixel.
ALIGNED = 0.01

Image = NDArray[np.float32]

_Lattice = tuple[str, float, int, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Position and time of a tile.

    Parameters
    ----------
    position : Position
        Position of the upper left corner.
    height, width : int
        Size in pixels.
    month : int
        Tiles of different months are not neighbours.
    date : str
        Tiles of different days are not neighbours either; "" if the day is unknown.
    """

    position: Position
    height: int
    width: int
    month: int
    date: str = ""


class TileNeighbours:
    """Finds the neighbours of tiles, and assembles tiles with their surroundings.

    Neighbours have the same coordinate system, pixel size, month and date, and are on the same
    pixel lattice. Tiles of the same place are of different times that nobody stated, and so no
    neighbours.

    Parameters
    ----------
    places : mapping of str to Place
        Tiles with a known position, by name.
    load : callable
        Returns the values (band, y, x) of a tile by name, or None if it cannot be read.
    margin : int
        Visible pixels on every side of a tile.
    """

    def __init__(
        self,
        places: Mapping[str, Place],
        load: Callable[[str], Image | None],
        *,
        margin: int,
    ) -> None:
        self.margin = margin
        self._load = load
        self._places = dict(places)
        grouped: defaultdict[_Lattice, list[str]] = defaultdict(list)
        for name in sorted(self._places):
            grouped[self._lattice(name)].append(name)
        self._names = {key: np.array(names) for key, names in grouped.items()}
        self._corners = {key: self._boxes(names) for key, names in grouped.items()}
        self._alone = {key: _unique(boxes) for key, boxes in self._corners.items()}
        ambiguous = sum(int((~alone).sum()) for alone in self._alone.values())
        if ambiguous and margin:
            logger.warning(
                "%d tiles have the place of another one, month and date included, and are not used "
                "as the surroundings of others: write their date in their JSON files",
                ambiguous,
            )

    def _lattice(self, name: str) -> _Lattice:
        place = self._places[name]
        return place.position.crs, place.position.pixel_size, place.month, place.date

    def _boxes(self, names: list[str]) -> NDArray[np.float64]:
        """Return top, left, bottom, right of tiles, in pixels, with rows running south."""
        rows = []
        for name in names:
            place = self._places[name]
            at = place.position
            top, left = -at.y / at.pixel_size, at.x / at.pixel_size
            rows.append((top, left, top + place.height, left + place.width))
        return np.array(rows)

    def neighbours(self, name: str) -> tuple[str, ...]:
        """Return the tiles that overlap the margin of a tile, sorted by name."""
        return tuple(other for other, _, _ in self._around(name))

    def _around(self, name: str) -> list[tuple[str, int, int]]:
        """Return the neighbours, and the offsets of their corners in pixels from the tile's."""
        if name not in self._places or self.margin == 0:
            return []
        key = self._lattice(name)
        names, boxes = self._names[key], self._corners[key]
        top, left, bottom, right = boxes[np.searchsorted(names, name)]
        m = self.margin
        near = (boxes[:, 0] < bottom + m) & (boxes[:, 2] > top - m)
        near &= self._alone[key]
        near &= (boxes[:, 1] < right + m) & (boxes[:, 3] > left - m)
        found = []
        for index in np.flatnonzero(near):
            offset = boxes[index, :2] - (top, left)
            whole = np.rint(offset)
            if names[index] != name and np.abs(offset - whole).max() <= ALIGNED:
                found.append((str(names[index]), int(whole[0]), int(whole[1])))
        return found

    def canvas(self, name: str, values: Image) -> Image:
        """Return a tile with its surroundings.

        Parameters
        ----------
        name : str
            Name of the tile.
        values : ndarray
            (band, y, x), values of the tile.

        Returns
        -------
        ndarray
            (band, y + 2 margin, x + 2 margin) float32: the tile in the centre, surrounded by its
            neighbours, and by its mirror image where there are none.
        """
        m, (height, width) = self.margin, values.shape[-2:]
        around = Box((0, -m, -m), (1, height + m, width + m))
        canvas: Image = read_reflected_array(values[:, None], around)[:, 0]
        for other, top, left in self._around(name):
            pixels = self._load(other)
            if pixels is not None:
                _paste(canvas, pixels, top + m, left + m)
        _paste(canvas, values, m, m)
        return canvas


def _unique(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which boxes (n, 4) have a corner that no other one has, to a tenth of a pixel."""
    corners = np.rint(boxes[:, :2] * 10)
    _, inverse, counts = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    alone: NDArray[np.bool_] = counts[inverse.ravel()] == 1
    return alone


def _paste(canvas: Image, pixels: Image, top: int, left: int) -> None:
    """Copy the part of an image that is inside the canvas."""
    place, part = [], []
    for start, count, length in zip((top, left), pixels.shape[-2:], canvas.shape[-2:], strict=True):
        first, last = max(start, 0), min(start + count, length)
        place.append(slice(first, last))
        part.append(slice(first - start, last - start))
    canvas[(slice(None), *place)] = pixels[(slice(None), *part)]
