"""Prediction of batches of equally sized images: features, context, network and blending.

The images of a batch are the planes of a volume in memory, processed by the same functions as in
the stages for stored volumes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray

from parafovea.backbones import load_backbone
from parafovea.backbones.backbone import Backbone
from parafovea.backbones.views import View, log_padding, token_array
from parafovea.errors import ModelError
from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.geometry.resample import read_reflected_array, resample_box
from parafovea.inference.array_inputs import ArrayOnGrid
from parafovea.inference.array_windows import blended
from parafovea.inference.blending import window_weights
from parafovea.inference.execution import Execution
from parafovea.inference.sample_inputs import RegionReader, check_channels
from parafovea.inference.window_loop import predict_region, windows_in_order
from parafovea.inference.window_plan import tile_layout
from parafovea.inference.window_predictors import Computation, Network, window_predictor
from parafovea.kinds import kind_named
from parafovea.models.conditioning import encoded_conditions
from parafovea.preprocess.normalization import fixed_value_map
from parafovea.settings.backbones.raw import sees_neighbours
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import BackboneSpec, ContextSpec, ModelSpec

Images = NDArray[np.float32]


class TileModel:
    """A model with its backbones, ready to predict batches of images.

    Parameters
    ----------
    spec : ModelSpec
        A two-dimensional model with bands.
    network : FusedUNet or ImageNetwork
        Its network.
    settings : InferenceSettings
        Windows and blending.
    execution : Execution
        Device, and number of windows per call of the network.
    computation : Computation
        Engine and precision of the network.

    Raises
    ------
    ModelError
        If the model cannot predict separate images with fixed normalization, or the channels of
        its backbone and its network differ.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: Network,
        *,
        settings: InferenceSettings,
        execution: Execution,
        computation: Computation,
    ) -> None:
        require_images(spec)
        self.spec = spec
        self.settings = settings
        self.device = execution.device
        self._values = fixed_value_map(spec.normalization)
        self._padded: set[tuple[int, ...]] = set()
        self._local = self._backbone(spec.backbone, spec.spacing) if spec.uses_features else None
        self._wide = None
        if spec.context is not None:
            self._wide = self._backbone(spec.context.backbone, spec.context.spacing)
        check_channels(
            spec,
            features=0 if self._local is None else len(self._local.channels),
            context=0 if self._wide is None else len(self._wide.channels),
            source=spec.name,
        )
        self.predictor = window_predictor(
            network, spec, computation, execution, settings, tells_trust=spec.corrects
        )

    def _backbone(self, spec: BackboneSpec, spacing: tuple[float, float, float]) -> Backbone:
        return load_backbone(
            spec, spacing=spacing, dimensions=2, device=str(self.device), bands=self.spec.bands
        )

    @property
    def backbones(self) -> tuple[str, ...]:
        """Fingerprints of its backbones, their weights included."""
        views = (self._local, self._wide)
        return tuple(view.fingerprint for view in views if view is not None)

    @property
    def margin(self) -> int:
        """Pixels around an image that affect its context features; 0 without context."""
        if self._wide is None or self.spec.context is None:
            return 0
        ratio = context_ratio(self.spec, self.spec.context)
        return ratio * max(self._wide.halo[1:])

    def __call__(
        self,
        images: Images,
        *,
        conditions: Mapping[str, Sequence[int]],
        surroundings: Images | None = None,
    ) -> Images:
        """Return the model's output for images.

        Parameters
        ----------
        images : ndarray
            (image, band, y, x) float32, in the value range that the model's normalization expects.
        conditions : mapping
            `month` and `biome` of each image.
        surroundings : ndarray, optional
            (image, band, y + 2 margin, x + 2 margin): the images with their surroundings; by
            default, images are mirrored at their borders.

        Returns
        -------
        ndarray
            (image, channel, y, x) float32, in [0, 1]: a channel of each class, and, of a network
            that filters (`spec.corrects`), last the trust in its change of brightness.
        """
        stack = self._values(np.moveaxis(images, 0, 1))
        grid = Grid(shape3(stack.shape[1:]), self.spec.spacing, unit=self.spec.unit)
        if self._local is not None and grid.shape[1:] not in self._padded:  # said once a size
            self._padded.add(grid.shape[1:])
            log_padding(grid, self._local)
        layout = tile_layout(*grid.shape, recipe=self.spec, settings=self.settings)
        pixels = ArrayOnGrid(stack, grid)
        features = None
        if self._local is not None:
            features = _tokens(View(pixels, grid), self._local, self.device)
        context = None
        if self._wide is not None and self.spec.context is not None:
            context = self._context(self.spec.context, self._wide, grid, stack, surroundings)
        known = None
        if self.spec.conditions:
            known = encoded_conditions(self.spec.conditions, conditions)
        regions = RegionReader(
            pixels,
            features,
            context,
            raw_input=self.spec.raw_input,
            conditions=known,
            margin=self.spec.margin,
        )
        region = regions.read(reduce(Box.union, layout.windows()))
        weights = window_weights(self.settings, layout.window)
        windows = predict_region(region, self.predictor, list(windows_in_order(layout)))
        channels = len(self.spec.classes) + self.spec.corrects
        found = blended(windows, layout, weights, classes=channels)
        return np.ascontiguousarray(np.moveaxis(found, 1, 0))

    def _context(
        self,
        context: ContextSpec,
        backbone: Backbone,
        grid: Grid,
        stack: Images,
        surroundings: Images | None,
    ) -> ArrayOnGrid:
        view = View(ArrayOnGrid(stack, grid), grid.resampled(context.spacing))
        if surroundings is None:
            return _tokens(view, backbone, self.device)
        wide = self._values(np.moveaxis(surroundings, 0, 1))
        ratio = context_ratio(self.spec, context)
        seen = WideView(wide, view.grid, grid, margin=self.margin, ratio=ratio)
        return _tokens(seen, backbone, self.device)


class WideView(View):
    """A coarser view of images with actual surroundings instead of mirrored borders.

    Parameters
    ----------
    wide : ndarray
        (band, image, y, x), the images with `margin` pixels around them.
    grid : Grid
        Grid of the view of the images without margin.
    local : Grid
        Grid of the images without margin.
    margin : int
        A multiple of `ratio`.
    ratio : int
        Image pixels per pixel of the view.
    """

    def __init__(self, wide: Images, grid: Grid, local: Grid, *, margin: int, ratio: int) -> None:
        _, z, y, x = wide.shape
        origin = [local.origin[0]] + [
            o - margin * s for o, s in zip(local.origin[1:], local.spacing[1:], strict=True)
        ]
        whole = Grid((z, y, x), local.spacing, (origin[0], origin[1], origin[2]), local.unit)
        super().__init__(ArrayOnGrid(wide, whole), grid)
        around = margin // ratio
        # Nothing beyond the margin is requested, except for a last row due to rounding, which is
        # mirrored.
        seen = grid.box.expanded((0, around, around))
        self._start = seen.start
        planes = seen.tiles((1, *seen.shape[1:]))
        parts = [resample_box(self.volume.read, whole, grid, plane) for plane in planes]
        self._seen = np.concatenate(parts, axis=-3)

    def read(self, box: Box) -> Images:
        """Return the pixels (band, z, y, x) of a box of the view, or around it."""
        part: Images = read_reflected_array(self._seen, box.relative_to(self._start))
        return part


def _tokens(view: View, backbone: Backbone, device: torch.device) -> ArrayOnGrid:
    # Blocks have the same shape for any batch, since rounding of sums may depend on the shape. GPUs
    # do not guarantee this anyway, and are faster with large blocks.
    depth = 1 if device.type == "cpu" else None
    tokens = token_array(view, backbone, device=device, depth=depth)
    return ArrayOnGrid(tokens, view.grid.coarsened(backbone.stride))


def context_ratio(spec: ModelSpec, context: ContextSpec) -> int:
    """Return the number of image pixels per context pixel, rounded up."""
    return math.ceil(max(c / s for c, s in zip(context.spacing[1:], spec.spacing[1:], strict=True)))


def require_images(spec: ModelSpec) -> None:
    """Raise `ModelError` if a model cannot process tiles independently."""
    if not spec.bands:
        raise ModelError(f"{spec.name} takes volumes of one channel, not tiles with bands")
    if "tiles" not in kind_named(spec.kind).stages:
        raise ModelError(f"{spec.name} is a {spec.kind}, which takes volumes, not tiles")
    if any(sees_neighbours(backbone) for backbone in spec.backbones):
        raise ModelError(
            f"{spec.name} takes neighbouring planes of a volume (neighbours), but tiles have no "
            "order: predict them as a volume, or train a model without"
        )
    if spec.network.dimensions != 2:
        raise ModelError(f"{spec.name} has 3 dimensions, but tiles are images: train one with 2")
    if spec.context is not None and spec.context.alignment != "registered":
        raise ModelError(f"{spec.name} has concentric context, which tiles cannot give")
    if spec.normalization.method in ("percentile", "zscore"):
        raise ModelError(
            f"{spec.name} normalizes by the {spec.normalization.method} of a whole sample, so that "
            "a tile would depend on the others: give normalization.method: none or window"
        )
