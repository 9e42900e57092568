"""A sample, as far as the size of its jobs depends on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parafovea.grid import Grid, Shape
from parafovea.inference.settings import InferenceSettings
from parafovea.inference.windowing import planned_layout, shard_count
from parafovea.models.spec import BackboneSpec, Recipe
from parafovea.windows import Layout


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
