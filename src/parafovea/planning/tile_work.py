"""A folder of tiles, as far as the size of its jobs depends on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from parafovea.inference.settings import InferenceSettings
from parafovea.inference.windowing import POOLED
from parafovea.models.spec import Recipe


@dataclass(frozen=True)
class TileWork:
    """A folder of tiles, as far as the size of its jobs depends on it.

    Parameters
    ----------
    sizes : mapping of (int, int) to int
        Number of tiles of each height and width, in pixels.
    recipe : Recipe
        What its model expects.
    inference : InferenceSettings
        How it is predicted.
    """

    sizes: Mapping[tuple[int, int], int]
    recipe: Recipe
    inference: InferenceSettings

    @property
    def count(self) -> int:
        """Tiles in all."""
        return sum(self.sizes.values())

    @property
    def pixels(self) -> int:
        """Pixels of all tiles."""
        return sum(count * y * x for (y, x), count in self.sizes.items())

    @property
    def computed(self) -> int:
        """Pixels that the network computes: each side of a tile is made a multiple of 16."""
        return sum(count * _whole(y) * _whole(x) for (y, x), count in self.sizes.items())

    @property
    def largest(self) -> tuple[int, int]:
        """Height and width of the largest tile, as the network computes it."""
        y, x = max(self.sizes, key=math.prod, default=(POOLED, POOLED))
        return _whole(y), _whole(x)

    @property
    def windows(self) -> int:
        """Calls of the network for one tile each, those of each view counted."""
        return self.count * self.inference.views

    @property
    def shards(self) -> int:
        """Jobs that the tiles are divided into."""
        return 1

    @property
    def extent(self) -> str:
        """Number of tiles and of their pixels, in words."""
        return f"{self.count:,} tiles, {self.pixels / 1e6:.3g} Mpx"


def _whole(side: int) -> int:
    return -(-side // POOLED) * POOLED
