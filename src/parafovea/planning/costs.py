"""What the job of each stage takes: memory and seconds, from the grid of the sample and its model.

The one place for such numbers. Rates of features and of the network can be measured on the machine
at hand (`planning.measure`). The others are rounded from runs on two CPU cores; that of `dinov3` is
an estimate, and so are the rates of detections.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parafovea.inference.window_plan import window_bytes
from parafovea.planning.work import TileWork, View, Work
from parafovea.preprocess.coarse_view import view_grid
from parafovea.settings.recipe import BackboneSpec, Recipe
from parafovea.storage.blocks import (
    BATCHES_AHEAD,
    BATCHES_WAITING,
    EXPORTED_SIDE,
    MEASURED_SIDE,
    PREDICTION_SHARD,
    SCANNED_VOXELS,
    SLAB_PLANES,
    VOLUME_SHARD,
)

#: Memory of Python with the libraries of a stage, in bytes: without torch, with it, and with the
#: libraries that a GPU needs beside it.
PLAIN, TORCH = 500e6, 2500e6

#: Bytes that body and lungs take for a voxel of the coarse view of a scan, at their peak.
BODY_BYTES = 90

#: Bytes that the statistics of a source with bands take.
SCANNED_BANDS = 500e6

#: Bytes of a pixel and band of a tile that is read ahead or waits for its batch.
TILE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Cost:
    """What one job takes.

    Parameters
    ----------
    memory : float
        Bytes, at its peak.
    seconds : float
        Of computing; the start of Python and of its libraries is not in it.
    """

    memory: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Rates:
    """How long a model's work takes, in seconds.

    Parameters
    ----------
    features, context : float
        A voxel of the local and of the coarse view.
    network : float
        A voxel of a window.
    """

    features: float
    context: float
    network: float


def reference_rates(recipe: Recipe) -> Rates:
    """Return rates as of two CPU cores, for models whose own were not measured."""
    wide = recipe.backbone if recipe.context is None else recipe.context.backbone
    return Rates(
        features=_seen(recipe.backbone),
        context=_seen(wide),
        network=4e-7 * width_factor(recipe.network.base_channels),
    )


def _seen(backbone: BackboneSpec) -> float:
    """Return the seconds that a backbone of a kind takes for a voxel."""
    return {"raw": 5e-8, "filterbank": 4e-7, "dinov3": 1e-5}[backbone.name]


def width_factor(base_channels: int) -> float:
    """Return how much longer a network takes than one of 16 channels."""
    return max(0.5, (base_channels / 16) ** 2)


def cost(stage: str, work: Work | TileWork, rates: Rates | None = None) -> Cost:
    """Return what one job of a stage takes.

    Parameters
    ----------
    stage : str
        Name of the stage; `make_phantom` is one too.
    work : Work or TileWork
        The sample.
    rates : Rates, optional
        Measured ones; those of two CPU cores by default.
    """
    rates = rates or reference_rates(work.recipe)
    if isinstance(work, TileWork):
        return TILE_STAGES[stage](work, rates)
    return (MOSAIC_STAGES if stage in MOSAIC_STAGES else STAGES)[stage](work, rates)


def _make_phantom(work: Work, _: Rates) -> Cost:
    """Hold all of it, in a dozen arrays."""
    return Cost(PLAIN + 60 * work.source.size, work.source.size / 2e6)


def _resample_volume(work: Work, _: Rates) -> Cost:
    """Hold a block of the result or a slab of the source, and the pages that files decode whole."""
    ratio = [t / s for s, t in zip(work.source.spacing, work.recipe.spacing, strict=True)]
    behind = math.prod(
        min(m, math.ceil(n * max(1.0, r)))
        for n, m, r in zip(VOLUME_SHARD, work.source.shape, ratio, strict=True)
    )
    page = work.source.shape[1] * work.source.shape[2]
    voxels = 2 * work.source.size + work.volume.size
    bands = work.recipe.channels
    if work.recipe.bands:
        # of a mosaic, pieces of the plane
        return Cost(PLAIN + SCANNED_BANDS + 24 * bands * behind, bands * voxels / 3e7)
    held = min(work.source.size, max(behind, SCANNED_VOXELS))
    # what is seen of the scan where body and lungs are looked for, once its voxels have passed
    view = view_grid(work.source).size if work.recipe.kind == "detection" else 0
    memory = max(24 * held + 16 * page, BODY_BYTES * view)
    return Cost(PLAIN + memory, voxels / 3e7 + 6e-7 * view)


def _extract_features(work: Work, rates: Rates) -> Cost:
    """Hold blocks of a fixed size, with a transformer its weights."""
    return _view(work.local, rates.features * work.recipe.channels)


def _extract_context(work: Work, rates: Rates) -> Cost:
    """Read the volume whole, for a view of few voxels."""
    if work.wide is None:
        return Cost(0, 0)
    coarse = _view(work.wide, rates.context * work.recipe.channels)
    return Cost(coarse.memory, coarse.seconds + work.volume.size / 1e8)


def _view(view: View, rate: float) -> Cost:
    memory = TORCH + 6e9 if view.backbone.name == "dinov3" else TORCH
    return Cost(memory, view.grid.size * rate)


def _infer_shard(work: Work, rates: Rates) -> Cost:
    """Hold a batch of windows, and the sums that windows still come to, of 3 x 3 x 3 windows."""
    network, classes = work.recipe.network, len(work.recipe.classes)
    layout, settings = work.layout, work.inference
    window = math.prod(layout.window)
    memory = settings.batch_size * window_bytes(
        layout.window, base_channels=network.base_channels, classes=classes
    )
    if settings.mode == "sliding_window":
        memory += 27 * window * 8 * classes
    return Cost(TORCH + memory, work.windows * window * rates.network / work.shards)


def _blend_shards(work: Work, _: Rates) -> Cost:
    """Hold a block of the prediction: sums, weights and probabilities of all classes."""
    classes = len(work.recipe.classes)
    voxels = max(math.prod(work.predicted), work.volume.size)
    return Cost(PLAIN + 40 * classes * math.prod(PREDICTION_SHARD), classes * voxels / 2e7)


def _segment_objects(work: Work, _: Rates) -> Cost:
    """Hold a slab of planes with its classes, components and objects."""
    return _slab(work)


def _measure_quality(work: Work, _: Rates) -> Cost:
    """Hold a slab of planes with the truth beside it."""
    return _slab(work)


def _slab(work: Work) -> Cost:
    z, y, x = work.predicted
    return Cost(PLAIN + 40 * min(z, SLAB_PLANES) * y * x, z * y * x / 3e6)


def _render_report(work: Work, _: Rates) -> Cost:
    """Hold a few planes of everything."""
    plane = math.prod(work.predicted[1:])
    return Cost(PLAIN + 100 * plane, 20.0)


def _detect_nodules(work: Work, _: Rates) -> Cost:
    """Hold slabs of the heatmap and of the scan, and write the heatmap in the scan's voxels."""
    voxels = work.source.size + work.volume.size
    page = math.prod(work.source.shape[1:])
    return Cost(PLAIN + 40 * SLAB_PLANES * page, 20 + voxels / 5e6)


def _measure_detections(work: Work, _: Rates) -> Cost:
    """Read tables, or a mask once."""
    return Cost(
        PLAIN + 40 * SLAB_PLANES * math.prod(work.source.shape[1:]), 5 + work.source.size / 1e7
    )


def _render_detections(work: Work, _: Rates) -> Cost:
    """Hold a few planes, and a coarse grid of the scan for its surfaces."""
    return Cost(PLAIN + 1e9 + 100 * math.prod(work.source.shape[1:]), 60.0)


def _export_mosaic(work: Work, _: Rates) -> Cost:
    """Hold a block of the mosaic, with what was predicted behind it."""
    bands = len(work.recipe.bands) + len(work.recipe.classes)
    voxels = work.source.size + work.volume.size
    return Cost(PLAIN + 24 * bands * EXPORTED_SIDE**2, bands * voxels / 2e7)


def _measure_mosaic(work: Work, rates: Rates) -> Cost:
    """Hold one block of a mosaic."""
    return _measure_tiles(_blocks(work), rates)


def _render_mosaic(work: Work, rates: Rates) -> Cost:
    """Hold the few blocks of a mosaic that are shown."""
    return _render_tiles(_blocks(work), rates)


def _blocks(work: Work) -> TileWork:
    """Return a mosaic as the tiles that it is measured and drawn by."""
    side = MEASURED_SIDE
    count = math.ceil(work.source.shape[1] / side) * math.ceil(work.source.shape[2] / side)
    return TileWork({(side, side): count}, work.recipe, work.inference)


def _predict_tiles(work: TileWork, rates: Rates) -> Cost:
    """Hold a few batches of the largest tiles, however many tiles there are."""
    recipe, batch = work.recipe, work.inference.batch_size
    seen = work.pixels * rates.features
    if recipe.context is not None:
        ratio = [c / s for c, s in zip(recipe.context.spacing, recipe.spacing, strict=True)]
        seen += work.pixels * rates.context / max(1.0, ratio[1] * ratio[2])
    memory = TORCH + 6e9 if recipe.backbone.name == "dinov3" else TORCH
    window = (1, *work.largest)
    bands = len(recipe.bands) + len(recipe.classes)
    memory += (BATCHES_AHEAD + BATCHES_WAITING) * batch * bands * TILE_BYTES * math.prod(window)
    memory += batch * window_bytes(
        window, base_channels=recipe.network.base_channels, classes=len(recipe.classes)
    )
    views = work.inference.views
    return Cost(memory, views * (seen + work.computed * rates.network) + 2e-3 * work.count)


def _collect_tiles(work: TileWork, _: Rates) -> Cost:
    """Hold a row for each tile."""
    return Cost(PLAIN + 1e4 * work.count, 1e-3 * work.count)


def _measure_tiles(work: TileWork, _: Rates) -> Cost:
    """Hold one tile, its result and its truth."""
    return Cost(PLAIN + 200 * math.prod(work.largest), work.pixels / 1e6 + 5e-3 * work.count)


def _render_tiles(work: TileWork, _: Rates) -> Cost:
    """Hold the few tiles that are shown, and a row of numbers for each of the others."""
    return Cost(PLAIN + 2000 * math.prod(work.largest) + 1e4 * work.count, 30 + 1e-3 * work.count)


#: Stages of folders of tiles.
TILE_STAGES: Mapping[str, Callable[[TileWork, Rates], Cost]] = {
    "predict_tiles": _predict_tiles,
    "collect_tiles": _collect_tiles,
    "measure_tiles": _measure_tiles,
    "render_tiles": _render_tiles,
}

#: Stages of volumes.
STAGES: Mapping[str, Callable[[Work, Rates], Cost]] = {
    "make_phantom": _make_phantom,
    "resample_volume": _resample_volume,
    "extract_features": _extract_features,
    "extract_context": _extract_context,
    "infer_shard": _infer_shard,
    "blend_shards": _blend_shards,
    "segment_objects": _segment_objects,
    "measure_quality": _measure_quality,
    "render_report": _render_report,
    "detect_nodules": _detect_nodules,
    "measure_detections": _measure_detections,
    "render_detections": _render_detections,
}

#: Stages of a volume that is a mosaic, after it was predicted.
MOSAIC_STAGES: Mapping[str, Callable[[Work, Rates], Cost]] = {
    "export_mosaic": _export_mosaic,
    "measure_tiles": _measure_mosaic,
    "render_tiles": _render_mosaic,
}
