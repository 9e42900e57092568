"""Landscapes cut into tiles of several sizes, months and biomes.

Tiles come in patches of two by two adjacent tiles. A patch is one date of one landscape, so that
adjacent tiles always match; patches are separate, on a grid, and each has its own month and biome,
drawn without repetition until all have been used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import ConfigError
from parafovea_phantoms.landscapes.biomes import BIOMES
from parafovea_phantoms.landscapes.landscape import Landscape, LandscapeView
from parafovea_phantoms.lattice import random_stream

#: Upper left corner of the first pixel: near the middle of UTM zone 33.
CRS = "EPSG:32633"
EASTING, NORTHING = 499980.0, 5600040.0

#: Number of the random generator of months and biomes.
DATES = 400

#: Tiles along an axis of a patch.
SIDE = 2


@dataclass(frozen=True)
class LandscapeTile:
    """One tile with its truth.

    Parameters
    ----------
    name : str
        Name of its files, and its `tile_id`.
    row, column : int
        Position of its first pixel in its landscape.
    landscape : Landscape
        The landscape of the tile.
    patch : int
        Number of its patch, from 0.
    view : LandscapeView
        Images of the tile.
    """

    name: str
    row: int
    column: int
    landscape: Landscape
    patch: int
    view: LandscapeView

    @property
    def metadata(self) -> dict[str, Any]:
        """Content of `NAME.json`: tile_id, month, biome_code, position, patch."""
        pixel = self.landscape.pixel_size
        return {
            "tile_id": self.name,
            "month": self.landscape.month,
            "biome_code": self.landscape.biome,
            "position": {
                "crs": CRS,
                "x": EASTING + pixel * self.column,
                "y": NORTHING - pixel * self.row,
                "pixel_size": pixel,
            },
            "patch": self.patch,
        }


def landscape_tiles(
    seed: int,
    *,
    tiles: Sequence[int],
    sizes: Sequence[int],
    pixel_size: float = 10.0,
    variety: float = 0.0,
) -> Iterator[LandscapeTile]:
    """Yield the tiles of a folder, patch by patch.

    Parameters
    ----------
    seed : int
        Random seed, not negative.
    tiles : sequence of int
        Number of tiles of each size.
    sizes : sequence of int
        Side of the tiles of each size, in pixels.
    pixel_size : float
        Side of a pixel, in metres.
    variety : float
        Chance and strength of what is rare, 0 to 1: clouds, floods, haze, unusual light.

    Raises
    ------
    ConfigError
        If `tiles` and `sizes` differ in length, or a value is out of range.
    """
    if len(tiles) != len(sizes) or not sizes or min(*tiles, *sizes) < 1:
        raise ConfigError(
            f"tiles {list(tiles)} and sizes {list(sizes)} do not match: give one number of "
            "tiles, at least 1, for each size"
        )
    per_patch = SIDE**2
    patches = [
        (size, min(per_patch, count - first))
        for count, size in zip(tiles, sizes, strict=True)
        for first in range(0, count, per_patch)
    ]
    if seed < 0:
        raise ConfigError(f"seed {seed} is negative: use 0 or a positive integer")
    rng = random_stream(seed, DATES)
    months = _drawn(rng, np.arange(1, 13), len(patches))
    biomes = _drawn(rng, np.arange(len(BIOMES)), len(patches))
    # the gap between patches is at least the width of a patch
    pitch = 2 * SIDE * max(sizes)
    across = int(np.ceil(np.sqrt(len(patches))))
    digits = max(3, len(str(sum(tiles))))
    number = 0
    for patch, (size, count) in enumerate(patches):
        landscape = Landscape(seed, int(biomes[patch]), int(months[patch]), pixel_size, variety)
        top, left = pitch * (patch // across), pitch * (patch % across)
        for place in range(count):
            row, column = top + size * (place // SIDE), left + size * (place % SIDE)
            number += 1
            yield LandscapeTile(
                f"tile_{number:0{digits}d}",
                row,
                column,
                landscape,
                patch,
                landscape.view(row, column, (size, size)),
            )


def _drawn(rng: np.random.Generator, choices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` choices from repeated random permutations."""
    rounds = -(-count // len(choices))
    return np.concatenate([rng.permutation(choices) for _ in range(rounds)])[:count]
