"""From the source of a volume to its prediction."""

from __future__ import annotations

from pathlib import Path

from parafovea.config import Project
from parafovea.grid import Shape, Vector
from parafovea.inference.inputs import ModelInputs
from parafovea.models.spec import BackboneSpec, Recipe
from parafovea.pipeline.progress import Announce
from parafovea.report.sample import SampleResults
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.extract_features import extract_features
from parafovea.stages.infer_shard import infer_shard
from parafovea.stages.resample_volume import resample_volume


def predict(project: Project, sample: str, results: SampleResults, announce: Announce) -> None:
    """Run a volume from its source to `prediction.ome.zarr`."""
    entry, task, recipe = (
        project.samples[sample],
        project.task(sample),
        project.recipe(sample),
    )
    announce("resample_volume")
    resample_volume(
        project.source(sample),
        results.volume,
        metadata=entry.metadata,
        folder=Path(),
        spacing=recipe.spacing,
        unit=recipe.unit,
        normalization=recipe.normalization,
        nonfinite=task.input.nonfinite,
        bands=recipe.bands,
        kind=recipe.kind,
    )
    settings = project.inference(sample)
    inputs = _view(recipe, results, results.folder, announce)
    views = [
        _view(recipe, results, results.folder / "views" / name, announce, name)
        for name in settings.tta
    ]
    shards = [results.folder / "shards" / f"{n}.zarr" for n in range(1, project.shards(sample) + 1)]
    announce("infer_shard")
    for number, shard in enumerate(shards, start=1):
        infer_shard(
            inputs,
            Path(task.model),
            shard,
            shard=number,
            settings=settings,
            overrides=task.overrides,
            views=views,
        )
    announce("blend_shards")
    blend_shards(shards, results.prediction, output_scale=settings.output_scales)


def _view(
    recipe: Recipe,
    results: SampleResults,
    folder: Path,
    announce: Announce,
    augmentation: str = "",
) -> ModelInputs:
    """Extract the features and the context of the sample, or of an augmented view of it."""
    context = None if recipe.context is None else folder / "context.zarr"
    inputs = ModelInputs(results.volume, folder / "features.zarr", context, augmentation)
    window = None if recipe.context_ratio is None else recipe.window
    views: list[tuple[Path, Vector, BackboneSpec, Shape | None]]
    views = [(inputs.features, recipe.spacing, recipe.backbone, None)]
    if context is not None and recipe.context is not None:
        views.append((context, recipe.context.spacing, recipe.context.backbone, window))
    for output, spacing, backbone, concentric_window in views:
        announce("extract_features" if output == inputs.features else "extract_context")
        extract_features(
            results.volume,
            output,
            spacing=spacing,
            backbone=backbone,
            dimensions=recipe.network.dimensions,
            augmentation=augmentation,
            concentric_window=concentric_window,
        )
    return inputs
