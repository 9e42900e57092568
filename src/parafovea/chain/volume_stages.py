"""Stages common to all volumes, from the source to the prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parafovea.chain.cost import FREE, PLAIN, TORCH, Cost, Rates
from parafovea.chain.stage import Output, Paths, Stage, Wildcards, reads_source
from parafovea.storage import layout
from parafovea.storage.blocks import PREDICTION_SHARD, SCANNED_VOXELS, VOLUME_SHARD
from parafovea.storage.pyramids import voxels_in_levels

if TYPE_CHECKING:
    from parafovea.chain.division import Division
    from parafovea.config.project import Project
    from parafovea.planning.work import ViewWork, Work
    from parafovea.settings.recipe import Recipe

#: Bytes of an element: volume and features, a sum, a probability at most, a pixel of a band.
HALF, SUM, PROBABILITY, REFLECTANCE = 2, 8, 4, 4

#: Memory for the statistics of a source with bands, in bytes.
SCANNED_BANDS = 500e6

#: Memory in bytes, and seconds, of the body and lung masks per voxel of a scan's coarse view.
BODY_BYTES, BODY_SECONDS = 90, 6e-7

VOLUME = layout.in_sample(layout.VOLUME)
FEATURES = layout.in_sample(layout.FEATURES)
CONTEXT = layout.in_sample(layout.CONTEXT)
VIEW_FEATURES = layout.in_sample(layout.VIEWS, "{augmentation}", layout.FEATURES)
VIEW_CONTEXT = layout.in_sample(layout.VIEWS, "{augmentation}", layout.CONTEXT)
SUMS = layout.in_sample(layout.SHARDS, "{shard}.zarr")
PREDICTION = layout.in_sample(layout.PREDICTION)


def source_waits(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the files of a sample's source and its metadata file."""
    files = project.files(wildcards["sample"])
    return [*files["source"], *files["metadata"]]


def model_files(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the model that a prediction depends on: a folder trained here, or its files."""
    folder = project.task(wildcards["sample"]).model
    if folder in project.trained:
        return [folder]
    recipe = project.recipe(wildcards["sample"])
    return [f"{folder}/model.json", *(f"{folder}/{name}" for name in recipe.network_files)]


def resampling(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    """Return the arguments of `resample_volume` for a whole volume."""
    sample = wildcards["sample"]
    recipe = project.recipe(sample)
    return {
        "source": project.source(sample),
        "metadata": project.samples[sample].metadata,
        **resampling_of(recipe, bands=project.reads_bands(sample)),
        "nonfinite": project.task(sample).input.nonfinite,
    }


def resampling_of(recipe: Recipe, *, bands: bool = False) -> dict[str, Any]:
    """Return the arguments of `resample_volume` that depend on the model.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the model.
    bands : bool
        Whether the source is an image with bands, and not a volume with channels.
    """
    return {
        "spacing": list(recipe.spacing),
        "unit": recipe.unit,
        "normalization": recipe.normalization.model_dump(mode="json"),
        "bands": list(recipe.bands) if bands else [],
        "channels": [] if bands else list(recipe.bands),
        "check_hounsfield": recipe.is_ct,
        "find_body": recipe.skips_empty,
    }


def resample_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of holding a block of the result, or a slab or pages of the source."""
    ratio = [t / s for s, t in zip(work.source.spacing, work.recipe.spacing, strict=True)]
    behind = math.prod(
        min(m, math.ceil(n * max(1.0, r)))
        for n, m, r in zip(VOLUME_SHARD, work.source.shape, ratio, strict=True)
    )
    page = work.source.shape[1] * work.source.shape[2]
    voxels = 2 * work.source.size + work.volume.size
    bands = work.recipe.channels
    if work.recipe.is_image:
        # parts of the plane, for a mosaic
        return Cost(PLAIN + SCANNED_BANDS + 24 * bands * behind, bands * voxels / 3e7)
    # channels are read one after the other; those of a block of the result are written together
    held = min(work.source.size, max(behind, SCANNED_VOXELS))
    written = HALF * (bands - 1) * math.prod(VOLUME_SHARD)
    seen = body_cost(work) if work.recipe.skips_empty and work.blocks == 1 else FREE
    memory = max(24 * held + 16 * page + 2 * written, seen.memory)
    return Cost(PLAIN + memory, bands * voxels / 3e7 + seen.seconds)


def body_cost(work: Work) -> Cost:
    """Return the cost of finding body and lungs of a scan on its coarse view."""
    return Cost(BODY_BYTES * work.coarse_voxels, BODY_SECONDS * work.coarse_voxels)


def volume_bytes(work: Work) -> int:
    """Return the bytes of the normalized volume; bands are stored in full precision."""
    size = REFLECTANCE if work.recipe.is_image else HALF
    return size * work.recipe.channels * voxels_in_levels(work.volume)


resample_volume = Stage(
    name="resample_volume",
    step="resample",
    waits=source_waits,
    outputs={"volume": Output(VOLUME, folder=True)},
    blockwise=False,
    arguments=resampling,
    reads=reads_source,
    cost=resample_cost,
    stored=volume_bytes,
    stores="volume",
)


def extraction_of(
    recipe: Recipe, *, context: bool = False, augmentation: str = ""
) -> dict[str, Any]:
    """Return the arguments of `extract_features` for one view of a model.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the model.
    context : bool
        Whether to extract the context view instead of the local one.
    augmentation : str
        Name of the mirroring or rotation; "" for none.
    """
    view = recipe.context if context and recipe.context is not None else recipe
    concentric = context and recipe.context_ratio is not None
    return {
        "spacing": list(view.spacing),
        "backbone": view.backbone.model_dump(mode="json"),
        "dimensions": recipe.network.dimensions,
        "augmentation": augmentation,
        "concentric_window": list(recipe.window) if concentric else None,
    }


def local_view(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    """Return the arguments of `extract_features` for local features."""
    recipe = project.recipe(wildcards["sample"])
    return extraction_of(recipe, augmentation=wildcards.get("augmentation", ""))


def wide_view(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    """Return the arguments of `extract_features` for context features."""
    recipe = project.recipe(wildcards["sample"])
    return extraction_of(recipe, context=True, augmentation=wildcards.get("augmentation", ""))


def local_weights(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the weight files of the local backbone."""
    return project.weight_files(wildcards["sample"])


def wide_weights(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the weight files of the context's backbone."""
    return project.weight_files(wildcards["sample"], context=True)


def local_jobs(division: Division) -> Sequence[Wildcards]:
    """Return the wildcards of one job if the model uses features."""
    return [{}] if division.recipe.uses_features else []


def views(division: Division) -> Sequence[Wildcards]:
    """Return the wildcards of a job per augmented view if the model uses features."""
    if not division.recipe.uses_features:
        return []
    return [{"augmentation": view} for view in division.inference.tta]


def contexts(division: Division) -> Sequence[Wildcards]:
    """Return the wildcards of one job if the model uses context."""
    return [] if division.recipe.context is None else [{}]


def context_views(division: Division) -> Sequence[Wildcards]:
    """Return the wildcards of a job per augmented view if the model uses context."""
    return [] if division.recipe.context is None else views(division)


def features_cost(work: Work, rates: Rates) -> Cost:
    """Return the cost of holding blocks of a fixed size, and a transformer's weights."""
    return _view_cost(work.local, rates.features * work.recipe.channels)


def context_cost(work: Work, rates: Rates) -> Cost:
    """Return the cost of reading the whole volume for a coarse view."""
    if work.wide is None:
        return Cost(0, 0)
    coarse = _view_cost(work.wide, rates.context * work.recipe.channels)
    return Cost(coarse.memory, coarse.seconds + work.volume.size / 1e8)


def _view_cost(view: ViewWork, rate: float) -> Cost:
    return Cost(TORCH + view.backbone_memory, view.grid.size * rate)


extract_features = Stage(
    name="extract_features",
    step="features",
    inputs={"volume": VOLUME},
    waits=local_weights,
    outputs={"features": Output(FEATURES, folder=True, temporary=True)},
    arguments=local_view,
    device="gpu",
    jobs=local_jobs,
    blockwise=False,
    cost=features_cost,
    stored=lambda work: HALF * work.local_tokens,
    stores="features",
)

extract_context = replace(
    extract_features,
    name="extract_context",
    step="context",
    function="extract_features",
    waits=wide_weights,
    outputs={"features": Output(CONTEXT, folder=True, temporary=True)},
    arguments=wide_view,
    jobs=contexts,
    cost=context_cost,
    stored=lambda work: HALF * work.wide_tokens,
    stores="context",
)

extract_view_features = replace(
    extract_features,
    name="extract_view_features",
    function="extract_features",
    outputs={"features": Output(VIEW_FEATURES, folder=True, temporary=True)},
    jobs=views,
    stored=lambda work: (work.inference.views - 1) * HALF * work.local_tokens,
)

extract_view_context = replace(
    extract_context,
    name="extract_view_context",
    outputs={"features": Output(VIEW_CONTEXT, folder=True, temporary=True)},
    jobs=context_views,
    stored=lambda work: (work.inference.views - 1) * HALF * work.wide_tokens,
)


def _feature_store(project: Project, wildcards: Wildcards) -> Paths:
    sample = wildcards["sample"]
    if not project.recipe(sample).uses_features:
        return None
    return f"{project.folder(sample)}/{layout.FEATURES}"


def _context_store(project: Project, wildcards: Wildcards) -> Paths:
    sample = wildcards["sample"]
    if project.recipe(sample).context is None:
        return None
    return f"{project.folder(sample)}/{layout.CONTEXT}"


def _view_stores(name: str, project: Project, wildcards: Wildcards) -> list[str]:
    sample = wildcards["sample"]
    folder = f"{project.folder(sample)}/{layout.VIEWS}"
    return [f"{folder}/{view}/{name}" for view in project.task(sample).inference.tta]


def _view_features(project: Project, wildcards: Wildcards) -> Paths:
    if not project.recipe(wildcards["sample"]).uses_features:
        return None
    return _view_stores(layout.FEATURES, project, wildcards)


def _view_contexts(project: Project, wildcards: Wildcards) -> Paths:
    if project.recipe(wildcards["sample"]).context is None:
        return None
    return _view_stores(layout.CONTEXT, project, wildcards)


def shard_jobs(division: Division) -> Sequence[Wildcards]:
    """Return the wildcards of a job per shard of a sample's windows or tiles."""
    return [{"shard": str(shard)} for shard in range(1, int(division.inference.shards) + 1)]


def inference_settings(project: Project, sample: str) -> dict[str, Any]:
    """Return a sample's inference settings with its number of shards, as plain values.

    If shards are automatic, this opens the header of the source.
    """
    settings: dict[str, Any] = project.inference(sample).model_dump(
        mode="json", exclude={"output_scale", "windows_per_shard"}
    )
    return settings


def _inference(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    task = project.task(sample)
    return {
        "model": task.model,
        "shard": int(wildcards["shard"]),
        "settings": inference_settings(project, sample),
        "overrides": task.overrides.model_dump(mode="json"),
    }


def _infer_cost(work: Work, rates: Rates) -> Cost:
    """Return the cost of holding a batch of windows and the sums of 3 x 3 x 3 windows."""
    classes, window = len(work.recipe.classes), work.window_voxels
    memory = work.inference.batch_size * work.window_bytes
    if work.inference.mode == "sliding_window":
        memory += 27 * window * 8 * classes
    return Cost(TORCH + memory, work.windows * window * rates.network / work.shards)


infer_shard = Stage(
    name="infer_shard",
    step="infer",
    inputs={
        "volume": VOLUME,
        "features": _feature_store,
        "context": _context_store,
        "view_features": _view_features,
        "view_contexts": _view_contexts,
    },
    waits=model_files,
    outputs={"sums": Output(SUMS, folder=True, temporary=True)},
    arguments=_inference,
    device="gpu",
    jobs=shard_jobs,
    cost=_infer_cost,
    stored=lambda work: SUM * len(work.recipe.classes) * work.summed_voxels,
    stores="shards",
)


def _sums(project: Project, wildcards: Wildcards) -> list[str]:
    sample = wildcards["sample"]
    folder = f"{project.folder(sample)}/{layout.SHARDS}"
    return [f"{folder}/{shard}.zarr" for shard in range(1, project.shards(sample) + 1)]


def blending(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    """Return the arguments of `blend_shards` for a whole prediction."""
    return {"output_scale": list(project.task(wildcards["sample"]).inference.output_scales)}


def blend_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of holding a block of sums, weights and probabilities."""
    classes = len(work.recipe.classes)
    voxels = max(math.prod(work.predicted), work.volume.size)
    return Cost(PLAIN + 40 * classes * math.prod(PREDICTION_SHARD), classes * voxels / 2e7)


blend_shards = Stage(
    name="blend_shards",
    step="blend",
    inputs={"shards": _sums},
    outputs={"prediction": Output(PREDICTION, folder=True)},
    arguments=blending,
    blockwise=False,
    cost=blend_cost,
    stored=lambda work: PROBABILITY * len(work.recipe.classes) * work.predicted_in_levels,
    stores="prediction",
)
