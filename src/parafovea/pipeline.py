"""All stages of one sample in one process, with the functions and the paths of the workflow."""

from __future__ import annotations

from pathlib import Path

from parafovea.config import Project
from parafovea.grid import Shape, Vector
from parafovea.inference.inputs import ModelInputs
from parafovea.models.spec import BackboneSpec, Recipe
from parafovea.report.sample import SampleResults
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.extract_features import extract_features
from parafovea.stages.infer_shard import infer_shard
from parafovea.stages.measure_quality import measure_quality
from parafovea.stages.render_report import render_report
from parafovea.stages.resample_volume import resample_volume
from parafovea.stages.segment_objects import segment_objects
from parafovea.truth import open_truth, open_truth_objects


def run_sample(project: Project, sample: str) -> Path:
    """Run every stage of a sample, from its source to its report.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    sample : str
        Name in the sheet; its source, truth and model must be there.

    Returns
    -------
    Path
        The sample's page; all results lie beside it.

    Raises
    ------
    ConfigError
        If the sheet has no such sample.
    ParafoveaError
        As the stages raise, with the sample's name in a note.
    """
    entry, task = project.require(sample), project.task(sample)
    results = SampleResults(Path(project.folder(sample)))
    _predict(project, sample, results)
    segment_objects(
        results.prediction,
        results.classes,
        results.objects,
        results.object_table,
        method=task.postprocess.method,
        connectivity=task.postprocess.connectivity,
        classes=task.postprocess.classes,
    )
    truth = open_truth(entry.truth, metadata=entry.metadata)
    measure_quality(
        results.prediction,
        results.classes,
        results.objects,
        results.quality,
        results.quality_table,
        truth=truth,
        truth_objects=open_truth_objects(entry.metadata),
        limits=task.quality.limits,
    )
    page = results.folder / "report.html"
    render_report(
        results,
        page,
        figures=results.figures,
        sample=sample,
        truth=truth,
        **task.report.model_dump(),
    )
    return page


def _predict(project: Project, sample: str, results: SampleResults) -> None:
    entry, task, recipe = (
        project.samples[sample],
        project.task(sample),
        project.recipe(sample),
    )
    resample_volume(
        entry.source,
        results.volume,
        metadata=entry.metadata,
        folder=Path(),
        spacing=recipe.spacing,
        unit=recipe.unit,
        normalization=recipe.normalization,
        nonfinite=task.input.nonfinite,
    )
    settings = project.inference(sample)
    inputs = _view(recipe, results, results.folder)
    views = [_view(recipe, results, results.folder / "views" / name, name) for name in settings.tta]
    shards = [results.folder / "shards" / f"{n}.zarr" for n in range(1, project.shards(sample) + 1)]
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
    blend_shards(shards, results.prediction, output_scale=settings.output_scales)


def _view(
    recipe: Recipe, results: SampleResults, folder: Path, augmentation: str = ""
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
