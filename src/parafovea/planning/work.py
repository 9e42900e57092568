"""Size of a sample's jobs: of a volume, or of a folder of tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from parafovea.backbones.vision_config import VisionConfig, vision_config
from parafovea.chain.division import Division
from parafovea.config.project import Project
from parafovea.errors import ParafoveaError
from parafovea.geometry.grid import Grid, Shape, vector3
from parafovea.geometry.windows import Layout
from parafovea.inference.window_plan import planned_layout, shard_count, tile_layout, window_bytes
from parafovea.kinds.kind import LayoutName, kind_named
from parafovea.planning.amplification import Amplification, amplification
from parafovea.preprocess.coarse_view import view_grid
from parafovea.runtime.documents import json_values, read_text
from parafovea.settings.backbones.huggingface import HuggingfaceArguments
from parafovea.settings.backbones.image_encoder import EncoderArguments
from parafovea.settings.backbones.network import NetworkArguments
from parafovea.settings.backbones.parsing import ENCODERS, parse_arguments
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import BackboneSpec, Recipe
from parafovea.storage.pyramids import voxels_in_levels

#: Bytes of a value of a refined tile and of a class index of a segmented tile.
REFLECTANCE, CLASS = 4, 1

#: Features per token of the largest published DINOv3, and pixels of a patch of most vision models,
#: assumed if the weights are not local.
WIDEST, PATCH = 4096, 16

#: Memory of the libraries and the weights of a transformer on a machine with a GPU, in bytes.
TRANSFORMER = 6e9

#: Memory of the libraries alone on such a machine, and copies of a token that an encoder of images
#: holds at once.
LIBRARIES, COPIES = 4e9, 16


@dataclass(frozen=True)
class TileWork:
    """Size of the jobs of a folder of tiles.

    Parameters
    ----------
    sizes : mapping of (int, int) to int
        Number of tiles by height and width in pixels.
    recipe : Recipe
        Recipe of its model.
    inference : InferenceSettings
        Inference settings.
    """

    sizes: Mapping[tuple[int, int], int]
    recipe: Recipe
    inference: InferenceSettings
    layout_name: ClassVar[LayoutName] = "tiles"

    @property
    def count(self) -> int:
        """Number of tiles."""
        return sum(self.sizes.values())

    @property
    def pixels(self) -> int:
        """Number of pixels of all tiles."""
        return sum(count * y * x for (y, x), count in self.sizes.items())

    @property
    def computed(self) -> int:
        """Pixels that the network computes in its windows, with what pads them."""
        return sum(
            count * math.prod(layout.lattice.shape) * math.prod(layout.window)
            for (y, x), count in self.sizes.items()
            for layout in (self._layout(y, x),)
        )

    @property
    def largest(self) -> tuple[int, int]:
        """Height and width of the largest tile, as the network computes it."""
        y, x = max(self.sizes, key=math.prod, default=(1, 1))
        _, height, width = self._layout(y, x).window
        return max(height, y), max(width, x)

    def _layout(self, height: int, width: int) -> Layout:
        return tile_layout(1, height, width, recipe=self.recipe, settings=self.inference)

    @property
    def windows(self) -> int:
        """Number of tiles to predict, over all views."""
        return self.count * self.inference.views

    @property
    def shards(self) -> int:
        """Number of jobs that share the tiles; 1 by default."""
        shards = self.inference.shards
        return 1 if isinstance(shards, str) else shards

    @property
    def amplification(self) -> Amplification:
        """How often the network computes a pixel in each view; each is read once."""
        return Amplification(self.computed / max(1, self.pixels), 1.0)

    @property
    def backbone_memory(self) -> float:
        """Memory of the backbone in bytes, without libraries common to all stages with torch."""
        return _backbone_memory(self.recipe.backbone)

    @property
    def window_bytes(self) -> int:
        """Peak memory of the prediction of a window of the largest tile in bytes."""
        return window_bytes(self._layout(*self.largest).window, self.recipe)

    @property
    def result_bytes(self) -> int:
        """Bytes per pixel of a result."""
        banded = kind_named(self.recipe.kind).banded
        return REFLECTANCE * len(self.recipe.classes) if banded else CLASS

    def in_tiles(self, side: int) -> TileWork:
        """Return the folder itself; a mosaic is divided into tiles here."""
        return self

    def stacked(self, grid: Grid) -> Work:
        """Return the folder as the volume that a model learns from, on the grid of its tiles."""
        return Work(grid, self.recipe, self.inference)

    @property
    def division(self) -> Division:
        """Into how many jobs its stages are divided."""
        inference = self.inference.model_copy(update={"shards": self.shards})
        return Division(self.recipe, inference)

    @property
    def extent(self) -> str:
        """Number of tiles and of their pixels as text."""
        return f"{self.count:,} tiles, {self.pixels / 1e6:.3g} Mpx"


@dataclass(frozen=True)
class ViewWork:
    """Size of one view of a sample: its local or its context features.

    Parameters
    ----------
    grid : Grid
        Grid of the backbone's input.
    backbone : BackboneSpec
        The backbone.
    channels : int
        Number of channels of its input.
    """

    grid: Grid
    backbone: BackboneSpec
    channels: int = 1

    @property
    def backbone_memory(self) -> float:
        """Memory of the backbone in bytes, without libraries common to all stages with torch."""
        return _backbone_memory(self.backbone)

    def values(self, dimensions: int) -> int:
        """Return the number of features of all tokens, for a network of 2 or 3 dimensions."""
        arguments = parse_arguments(self.backbone, dimensions=dimensions)
        if isinstance(arguments, HuggingfaceArguments):
            config = _config(arguments)
            if config is None:
                channels = WIDEST * max(1, len(arguments.layers))
                stride = arguments.strides(max(PATCH, arguments.stride or 1))
            else:
                channels = config.channels(arguments.layers)
                stride = arguments.strides(config.patch(arguments.layers))
        elif isinstance(arguments, EncoderArguments):
            channels = arguments.features
            stride = (1, arguments.pixels_per_token, arguments.pixels_per_token)
        elif isinstance(arguments, NetworkArguments):
            channels = arguments.description.features
            stride = arguments.strides(dimensions)
        else:
            # a filter sees each channel of its input by itself
            channels = len(arguments.channels(dimensions)) * self.channels
            stride = arguments.strides(dimensions)
        return channels * self.grid.coarsened(stride).size


@dataclass(frozen=True)
class Work:
    """Size of the jobs of a volume.

    Parameters
    ----------
    source : Grid
        Grid of the source, in the unit of the recipe.
    recipe : Recipe
        Recipe of its model.
    inference : InferenceSettings
        Inference settings.
    blocks : int
        Number of blocks of its arrays.
    passes : int
        Number of passes over the source in which its values are counted; see `Division`.
    settings : mapping of str to mapping
        The config blocks specific to its kind, as plain values.
    dicom_output : bool
        Whether its results are written as DICOM objects, too.
    """

    source: Grid
    recipe: Recipe
    inference: InferenceSettings
    blocks: int = 1
    passes: int = 1
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    dicom_output: bool = False
    layout_name: ClassVar[LayoutName] = "volume"

    @property
    def amplification(self) -> Amplification:
        """How often its windows compute and read a voxel in each view."""
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
    def predicted_in_levels(self) -> int:
        """Voxels of the prediction in all levels of its pyramid."""
        scales = self.inference.output_scales
        spacing = [s / k for s, k in zip(self.volume.spacing, scales, strict=True)]
        return voxels_in_levels(Grid(self.predicted, vector3(spacing), unit=self.volume.unit))

    @cached_property
    def layout(self) -> Layout:
        """The windows that cover the volume."""
        return planned_layout(self.volume.shape, self.recipe, self.inference)

    @property
    def windows(self) -> int:
        """Number of windows over all views."""
        return self.layout.lattice.size * self.inference.views

    @property
    def shards(self) -> int:
        """Number of jobs that share the windows."""
        return shard_count(self.layout, self.inference)

    @cached_property
    def division(self) -> Division:
        """Into how many jobs its stages are divided."""
        inference = self.inference.model_copy(update={"shards": self.shards})
        return Division(
            self.recipe, inference, self.blocks, self.passes, self.settings, self.dicom_output
        )

    @property
    def extent(self) -> str:
        """Voxels of the volume along z, y, x as text."""
        return " x ".join(str(n) for n in self.volume.shape)

    @cached_property
    def local(self) -> ViewWork:
        """The local view."""
        return ViewWork(self.volume, self.recipe.backbone, self.recipe.channels)

    @cached_property
    def wide(self) -> ViewWork | None:
        """The context view, None for a model without context."""
        context = self.recipe.context
        if context is None:
            return None
        grid = self.volume.resampled(context.spacing)
        return ViewWork(grid, context.backbone, self.recipe.channels)

    @property
    def coarse_voxels(self) -> int:
        """Number of voxels of the coarse view in which body and lungs of a scan are found."""
        return view_grid(self.source).size

    @property
    def local_tokens(self) -> int:
        """Number of values of the local features, 0 for a model without features."""
        if not self.recipe.uses_features:
            return 0
        return self.local.values(self.recipe.network.dimensions)

    @property
    def wide_tokens(self) -> int:
        """Number of values of the context features, 0 for a model without context."""
        wide = self.wide
        return 0 if wide is None else wide.values(self.recipe.network.dimensions)

    @property
    def window_voxels(self) -> int:
        """Number of voxels of a window."""
        return math.prod(self.layout.window)

    @property
    def window_bytes(self) -> int:
        """Peak memory of the prediction of a window in bytes."""
        return window_bytes(self.layout.window, self.recipe)

    @property
    def summed_voxels(self) -> int:
        """Number of voxels of all shards' sums; voxels near a border are in several shards."""
        layout = self.layout
        parts = [part for part in layout.shards(self.shards) if part.size]
        return sum(layout.covered(part).size for part in parts)

    def in_tiles(self, side: int) -> TileWork:
        """Return a mosaic as square tiles of a given side in pixels."""
        rows, columns = (math.ceil(n / side) for n in self.source.shape[1:])
        return TileWork({(side, side): rows * columns}, self.recipe, self.inference)


def work_of(project: Project, sample: str) -> Work | TileWork:
    """Return the size of the jobs of a sample."""
    recipe, inference = project.recipe(sample), project.inference(sample)
    if project.layout(sample) == "tiles":
        return TileWork(project.tile_sizes(sample), recipe, inference)
    division = project.division(sample)
    return Work(
        project.grid(sample),
        recipe,
        inference,
        division.blocks,
        division.passes,
        division.settings,
        division.dicom_output,
    )


def _backbone_memory(backbone: BackboneSpec) -> float:
    if "weights" not in backbone.arguments:
        return 0.0
    if backbone.name in ENCODERS:
        arguments = parse_arguments(backbone, dimensions=2)
        if isinstance(arguments, EncoderArguments):
            return LIBRARIES + _encoder_memory(arguments)
    if backbone.name == "network":
        network = parse_arguments(backbone, dimensions=3)
        if isinstance(network, NetworkArguments):
            return LIBRARIES + network.memory
    return TRANSFORMER


def _encoder_memory(arguments: EncoderArguments) -> float:
    """Return the bytes of an encoder's file, which is read whole, and of the tokens of a pass."""
    encoder = arguments.architecture
    path = Path(arguments.weights).expanduser()
    weights = max(4 * encoder.parameters, path.stat().st_size if path.is_file() else 0)
    side = (arguments.tile_pixels + 2 * arguments.margin_pixels) // arguments.pixels_per_token
    tokens = arguments.batch_size * side**2 * arguments.images
    return weights + 4 * COPIES * encoder.width * tokens


def _config(arguments: HuggingfaceArguments) -> VisionConfig | None:
    """Return what the configuration of a vision model describes; None if it is not local."""
    path = Path(arguments.weights).expanduser() / "config.json"
    try:
        return vision_config(json_values(read_text(path, "a configuration"), path), str(path))
    except (OSError, ParafoveaError):
        return None
