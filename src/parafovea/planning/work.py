"""A sample, as far as the size of its jobs depends on it: a volume, or a folder of tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from parafovea.geometry.grid import Grid, Shape
from parafovea.geometry.windows import Layout
from parafovea.inference.window_plan import POOLED, planned_layout, shard_count
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import BackboneSpec, Recipe


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


@dataclass(frozen=True)
class View:
    """One way of looking at a sample: its local or its context features.

    Parameters
    ----------
    grid : Grid
        Voxels that the backbone sees.
    backbone : BackboneSpec
        What sees them.
    """

    grid: Grid
    backbone: BackboneSpec


@dataclass(frozen=True)
class Work:
    """A sample, as far as the size of its jobs depends on it.

    Parameters
    ----------
    source : Grid
        Of its source, in the unit of the recipe.
    recipe : Recipe
        What its model expects.
    inference : InferenceSettings
        How it is predicted.
    """

    source: Grid
    recipe: Recipe
    inference: InferenceSettings

    @property
    def volume(self) -> Grid:
        """The grid of the model's local view."""
        return self.source.resampled(self.recipe.spacing)

    @property
    def predicted(self) -> Shape:
        """Voxels of the prediction along z, y, x."""
        z, y, x = (
            math.ceil(n * scale)
            for n, scale in zip(self.volume.shape, self.inference.output_scales, strict=True)
        )
        return z, y, x

    @property
    def layout(self) -> Layout:
        """The windows that cover the volume."""
        return planned_layout(self.volume.shape, self.recipe, self.inference)

    @property
    def windows(self) -> int:
        """Windows of the volume, those of each view counted."""
        return self.layout.lattice.size * self.inference.views

    @property
    def shards(self) -> int:
        """Jobs that the windows are divided into."""
        return shard_count(self.layout, self.inference)

    @property
    def extent(self) -> str:
        """Voxels of the volume along z, y, x, in words."""
        return " x ".join(str(n) for n in self.volume.shape)

    @property
    def local(self) -> View:
        """The sharp view."""
        return View(self.volume, self.recipe.backbone)

    @property
    def wide(self) -> View | None:
        """The coarse view, None for a model without context."""
        context = self.recipe.context
        if context is None:
            return None
        return View(self.volume.resampled(context.spacing), context.backbone)
