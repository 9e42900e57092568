"""Sliding windows over arrays in memory: features cached per volume, blending in memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from parafovea.backbones import load_backbone
from parafovea.backbones.backbone import Backbone
from parafovea.backbones.views import View, token_array
from parafovea.geometry.grid import Box, Grid, Vector
from parafovea.geometry.windows import Layout
from parafovea.inference.array_inputs import ArrayOnGrid, check_context
from parafovea.inference.blending import normalized
from parafovea.inference.execution import Execution
from parafovea.inference.sample_inputs import RegionReader, check_channels
from parafovea.inference.window_loop import weighed
from parafovea.inference.window_predictors import Network, choose_computation, window_predictor
from parafovea.models.model_json import require_cacheable
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.preprocess.normalization import is_spread, percentiles_of, value_map
from parafovea.preprocess.source_statistics import scan
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import BackboneSpec, ModelSpec


def blended(
    windows: Iterable[tuple[Box, NDArray[np.float32]]],
    layout: Layout,
    weights: NDArray[np.int64],
    *,
    classes: int,
) -> NDArray[np.float32]:
    """Return the weighted means of all windows' values, summed in fixed point.

    Parameters
    ----------
    windows : iterable of (Box, ndarray)
        Every window of the layout once, in any order: (class, z, y, x) float32 in [0, 1].
    layout : Layout
        The windows.
    weights : ndarray
        (z, y, x) int64, the fixed-point importance map of a window.
    classes : int
        Number of classes.

    Returns
    -------
    ndarray
        (class, z, y, x) float32; without overlap, the values of the windows themselves.
    """
    volume = Box.whole(layout.shape)
    if not _overlapping(layout):
        result = np.empty((classes, *layout.shape), np.float32)
        for box, values in windows:
            inside = box.intersection(volume)
            place = (slice(None), *inside.relative_to(box.start).slices)
            result[(slice(None), *inside.slices)] = values[place]
        return result
    total = np.zeros(layout.shape, dtype=np.int64)
    sums = np.zeros((classes, *layout.shape), dtype=np.int64)
    for box, values in windows:
        inside, weighted = weighed(box, values, weights, volume)
        sums[(slice(None), *inside.slices)] += weighted
        total[inside.slices] += weights[inside.relative_to(box.start).slices]
    means: NDArray[np.float32] = normalized(sums, total, np.float32)
    return means


def _overlapping(layout: Layout) -> bool:
    """Return whether any windows overlap."""
    return any(
        second < first + window
        for starts, window in zip(layout.starts, layout.window, strict=True)
        for first, second in pairwise(starts)
    )


class CachedModel:
    """A model with its backbones, if it uses features.

    Parameters
    ----------
    spec : ModelSpec
        Description of the model.
    network : FusedUNet or ImageNetwork
        Its network.
    source : str
        Origin of the model, for messages.
    device : torch.device
        Device for the computation, in float32.

    Raises
    ------
    ModelError
        If a backbone's weights are not available, or its channels do not match the network.
    """

    def __init__(
        self, spec: ModelSpec, network: Network, *, source: str, device: torch.device
    ) -> None:
        require_cacheable(spec, source)
        self.spec = spec
        self.source = source
        self.device = device
        self.local: Backbone | None = None
        if spec.uses_features:
            self.local = self._backbone(spec.backbone, spec.spacing)
        self.wide: Backbone | None = None
        if spec.context is not None:
            self.wide = self._backbone(spec.context.backbone, spec.context.spacing)
        check_channels(
            spec,
            features=0 if self.local is None else len(self.local.channels),
            context=0 if self.wide is None else len(self.wide.channels),
            source=source,
        )
        settings = InferenceSettings(precision="float32", batch_size=1)
        if isinstance(network, FusedUNet):
            settings = settings.model_copy(update={"engine": "torch"})
        self.predictor = window_predictor(
            network,
            spec,
            choose_computation(network, settings, device),
            Execution(device, 1),
            settings,
        )

    def _backbone(self, spec: BackboneSpec, spacing: Vector) -> Backbone:
        dimensions = self.spec.network.dimensions
        return load_backbone(spec, spacing=spacing, dimensions=dimensions, device=str(self.device))

    def __call__(self, volume: NDArray[Any], context: NDArray[Any] | None) -> CachedVolume:
        """Return a prepared volume, with its context if given."""
        return CachedVolume(self, volume, context)


class CachedVolume:
    """A volume prepared for a `CachedModel`; see `OpenedVolume`.

    Parameters
    ----------
    model : CachedModel
        The model.
    volume, context : ndarray
        (z, y, x), values of any range; both are normalized by the volume's statistics.

    Raises
    ------
    GridError
        If the context's shape does not fit the volume.
    VoxelError
        If all voxels are equal, or normalized values overflow float16.
    """

    def __init__(
        self, model: CachedModel, volume: NDArray[Any], context: NDArray[Any] | None
    ) -> None:
        spec = model.spec
        self._model = model
        self.grid = Grid(volume.shape, spec.spacing, unit=spec.unit)
        stored = ArrayOnGrid(volume, self.grid)
        asked = percentiles_of(spec.normalization)
        spread = is_spread(spec.normalization)
        statistics = scan(stored.read, self.grid, volume.dtype, percentiles=asked, spread=spread)
        normalize = value_map(statistics, spec.normalization)
        normalize.check_half(statistics)
        # Half precision, as in the workflow's normalized volumes.
        voxels = ArrayOnGrid(normalize(volume).astype(np.float16), self.grid)
        self._seconds: dict[str, float] = {}
        local: ArrayOnGrid | None = None
        if model.local is not None:
            local = self._tokens(voxels, model.local, "local_features_s")
        wide: ArrayOnGrid | None = None
        if context is not None and model.wide is not None:
            grid = check_context(context, self.grid, spec, model.source)
            wide_statistics = scan(ArrayOnGrid(context, grid).read, grid, context.dtype)
            normalize.check_half(wide_statistics)
            values = ArrayOnGrid(normalize(context).astype(np.float16), grid)
            wide = self._tokens(values, model.wide, "context_features_s")
        self._regions = RegionReader(
            voxels,
            local,
            wide,
            raw_input=spec.raw_input,
            zoom=spec.context_ratio,
            margin=spec.margin,
        )

    def _tokens(self, voxels: ArrayOnGrid, backbone: Backbone, name: str) -> ArrayOnGrid:
        started = time.perf_counter()
        tokens = token_array(View(voxels, voxels.grid), backbone, device=self._model.device)
        self._seconds[name] = time.perf_counter() - started
        return ArrayOnGrid(tokens, voxels.grid.coarsened(backbone.stride))

    def timing(self) -> dict[str, float]:
        """Return the seconds of the features by view."""
        return dict(self._seconds)

    def predict(self, box: Box) -> NDArray[np.float32]:
        """Return a window's probabilities, (class, z, y, x)."""
        region = self._regions.read(box)
        probabilities: NDArray[np.float32] = self._model.predictor(region, [box])[0]
        return probabilities
