"""A sample, as far as the size of its jobs depends on it: a volume, or a folder of tiles."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from parafovea.config.project import Project
from parafovea.geometry.grid import Grid, Shape
from parafovea.geometry.windows import Layout
from parafovea.inference.window_plan import POOLED, planned_layout, shard_count, window_bytes
from parafovea.kinds.kind import LayoutName
from parafovea.kinds.registry import kind_named
from parafovea.planning.amplification import Amplification, amplification
from parafovea.preprocess.coarse_view import view_grid
from parafovea.settings.backbones import Dinov3Arguments, parse_arguments
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import BackboneSpec, Recipe

#: Bytes of a value of a refined tile, and of the class of one of a segmentation.
REFLECTANCE, CLASS = 4, 1

#: Features of a token of the largest published DINOv3, where the weights are not on this machine.
WIDEST = 4096

#: Bytes that the libraries and the weights of a transformer take on a GPU's machine.
TRANSFORMER = 6e9


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
    layout_name: ClassVar[LayoutName] = "tiles"

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
        """Jobs that the tiles are divided into; one where no number is stated."""
        shards = self.inference.shards
        return 1 if isinstance(shards, str) else shards

    @property
    def amplification(self) -> Amplification:
        """How often the network computes a pixel, for each view; each is read once."""
        return Amplification(self.computed / max(1, self.pixels), 1.0)

    @property
    def backbone_memory(self) -> float:
        """Bytes that the backbone takes beside the libraries of every stage that computes."""
        return _backbone_memory(self.recipe.backbone)

    @property
    def window_bytes(self) -> int:
        """Bytes that the prediction of the largest tile takes at its peak."""
        return _window_bytes((1, *self.largest), self.recipe)

    @property
    def result_bytes(self) -> int:
        """Bytes of a pixel of a result."""
        banded = kind_named(self.recipe.kind).banded
        return REFLECTANCE * len(self.recipe.classes) if banded else CLASS

    def in_tiles(self, side: int) -> TileWork:
        """Return the folder as it is; a mosaic is divided into tiles here."""
        return self

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

    @property
    def backbone_memory(self) -> float:
        """Bytes that the backbone takes beside the libraries of every stage that computes."""
        return _backbone_memory(self.backbone)

    def values(self, dimensions: int) -> int:
        """Return the number of features of all tokens, by a network of so many dimensions."""
        arguments = parse_arguments(self.backbone, dimensions=dimensions)
        if isinstance(arguments, Dinov3Arguments):
            channels = _width(arguments)
            step = arguments.plane_step if arguments.planes == "xy" else arguments.stride
            stride = (step, arguments.stride, arguments.stride)
        else:
            channels = len(arguments.channels(dimensions))
            stride = arguments.strides(dimensions)
        return channels * self.grid.coarsened(stride).size


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
    layout_name: ClassVar[LayoutName] = "volume"

    @property
    def amplification(self) -> Amplification:
        """How often its windows compute and read a voxel, for each view."""
        return amplification(self.layout, self.shards)

    @cached_property
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

    @cached_property
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

    @cached_property
    def local(self) -> View:
        """The sharp view."""
        return View(self.volume, self.recipe.backbone)

    @cached_property
    def wide(self) -> View | None:
        """The coarse view, None for a model without context."""
        context = self.recipe.context
        if context is None:
            return None
        return View(self.volume.resampled(context.spacing), context.backbone)

    @property
    def coarse_voxels(self) -> int:
        """Voxels of the coarse view in which body and lungs of a scan are found."""
        return view_grid(self.source).size

    @property
    def local_tokens(self) -> int:
        """Values of the local features."""
        return self.local.values(self.recipe.network.dimensions)

    @property
    def wide_tokens(self) -> int:
        """Values of the context's features, 0 for a model without context."""
        wide = self.wide
        return 0 if wide is None else wide.values(self.recipe.network.dimensions)

    @property
    def window_voxels(self) -> int:
        """Voxels of a window."""
        return math.prod(self.layout.window)

    @property
    def window_bytes(self) -> int:
        """Bytes that the prediction of a window takes at its peak."""
        return _window_bytes(self.layout.window, self.recipe)

    @property
    def summed_voxels(self) -> int:
        """Voxels of all shards' sums: those near a border are in several."""
        layout = self.layout
        parts = [part for part in layout.shards(self.shards) if part.size]
        return sum(layout.covered(part).size for part in parts)

    def in_tiles(self, side: int) -> TileWork:
        """Return a mosaic as square tiles of a side, in pixels."""
        rows, columns = (math.ceil(n / side) for n in self.source.shape[1:])
        return TileWork({(side, side): rows * columns}, self.recipe, self.inference)


def work_of(project: Project, sample: str) -> Work | TileWork:
    """Return a sample of a project, as far as the size of its jobs depends on it."""
    recipe, inference = project.recipe(sample), project.inference(sample)
    if project.layout(sample) == "tiles":
        return TileWork(project.tile_sizes(sample), recipe, inference)
    return Work(project.grid(sample), recipe, inference)


def _backbone_memory(backbone: BackboneSpec) -> float:
    return TRANSFORMER if backbone.name == "dinov3" else 0.0


def _window_bytes(window: Shape, recipe: Recipe) -> int:
    return window_bytes(
        window, base_channels=recipe.network.base_channels, classes=len(recipe.classes)
    )


def _width(arguments: Dinov3Arguments) -> int:
    """Return the features of a transformer's token, of `WIDEST` where they cannot be known."""
    config = Path(arguments.weights) / "config.json"
    try:
        return int(json.loads(config.read_text(encoding="utf-8"))["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return WIDEST
