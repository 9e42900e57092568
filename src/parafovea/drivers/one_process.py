"""All stages of one sample in one process, with the functions and the paths of the workflow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parafovea.config import Project
from parafovea.errors import ParafoveaError
from parafovea.formats.location import format_modules
from parafovea.formats.truth import open_truth, open_truth_objects
from parafovea.geometry.grid import Shape, Vector
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.planning.forecast import OF_KIND
from parafovea.quality.tiles.metric_names import TileKind
from parafovea.report.sample_results import SampleResults
from parafovea.settings.recipe import BackboneSpec, Recipe
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.collect_tiles import collect_tiles
from parafovea.stages.detect_nodules import detect_nodules
from parafovea.stages.export_mosaic import export_mosaic
from parafovea.stages.extract_features import extract_features
from parafovea.stages.infer_shard import infer_shard
from parafovea.stages.measure_detections import measure_detections
from parafovea.stages.measure_quality import measure_quality
from parafovea.stages.measure_tiles import TileQuality, measure_tiles
from parafovea.stages.predict_tiles import TileCounts, predict_tiles
from parafovea.stages.render_detections import DetectionPictures, render_detections
from parafovea.stages.render_report import render_report
from parafovea.stages.render_tiles import render_tiles
from parafovea.stages.resample_volume import resample_volume
from parafovea.stages.segment_objects import segment_objects
from parafovea.storage.fingerprint import code_fingerprint
from parafovea.storage.provenance import current_time, stated_time

#: Told of each stage when it begins.
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Clock:
    """What results say of the time of a run; they are other bytes in the next run then.

    Parameters
    ----------
    timestamp : str
        When the run began, UTC, such as "2026-01-31T12:00:00Z".
    seconds : callable
        Returns how long ago that was.
    """

    timestamp: str
    seconds: Callable[[], float]

    @classmethod
    def started(cls) -> Clock | None:
        """Return a clock that starts now; None where the same bytes are asked for."""
        begin, now = time.perf_counter(), current_time()
        return None if now is None else cls(now, lambda: time.perf_counter() - begin)


def silent(stage: str) -> None:
    """Tell nobody."""


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
        find_body=recipe.kind == "detection",
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


def run_tiles(
    project: Project, sample: str, *, announce: Announce = silent
) -> tuple[Path, TileCounts]:
    """Run every stage of a folder of tiles; as `run_sample`.

    Returns
    -------
    Path
        The sample's page.
    TileCounts
        What became of its tiles.
    """
    entry, task, source = project.require(sample), project.task(sample), project.source(sample)
    results = SampleResults(Path(project.folder(sample)))
    ledger = results.folder / "shards" / "1.tsv"
    announce("predict_tiles")
    counts = predict_tiles(
        Path(source),
        Path(task.model),
        results.folder / "tiles",
        ledger,
        metadata=entry.metadata,
        settings=project.inference(sample),
        overwrite=task.tiles.overwrite,
        code=code_fingerprint(
            ["parafovea.stages.predict_tiles", *format_modules(source, bands=True)]
        ),
    )
    announce("collect_tiles")
    collect_tiles(
        [ledger],
        results.folder / "tiles",
        results.ledger,
        results.quarantine,
        strict=task.tiles.strict,
    )
    return judge_tiles(project, sample, results, announce), counts


def judge_tiles(project: Project, sample: str, results: SampleResults, announce: Announce) -> Path:
    """Measure and draw the tiles of a folder, or the blocks of a mosaic."""
    entry, task, recipe = project.samples[sample], project.task(sample), project.recipe(sample)
    truth = project.truth(sample)
    kind: TileKind = "segmentation" if task.kind == "segmentation" else "refinement"
    announce("measure_tiles")
    measure_tiles(
        results.ledger,
        results.quarantine,
        TileQuality(results.quality, results.quality_table, results.tile_quality),
        source=project.source(sample),
        truth=truth,
        kind=kind,
        classes=recipe.classes,
        bands=recipe.bands,
        metadata=entry.metadata,
        limits=task.quality.limits,
    )
    announce("render_tiles")
    page = results.folder / "report.html"
    render_tiles(
        results,
        page,
        figures=results.figures,
        sample=sample,
        kind=kind,
        classes=recipe.classes,
        bands=recipe.bands,
        metadata=entry.metadata,
        truth=truth,
        settings=task.tile_report,
    )
    return page


def segment(project: Project, sample: str, results: SampleResults, announce: Announce) -> Path:
    """Run a segmentation from its prediction to its page, which is returned."""
    entry, task = project.samples[sample], project.task(sample)
    announce("segment_objects")
    segment_objects(
        results.prediction,
        results.classes,
        results.objects,
        results.object_table,
        method=task.postprocess.method,
        connectivity=task.postprocess.connectivity,
        classes=task.postprocess.classes,
    )
    announce("measure_quality")
    truth = open_truth(project.truth(sample), metadata=entry.metadata)
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
    announce("render_report")
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


def detect(
    project: Project,
    sample: str,
    results: SampleResults,
    announce: Announce,
    clock: Clock | None,
) -> Path:
    """Run a detection from its prediction to its page, which is returned."""
    entry, task, source = project.samples[sample], project.task(sample), project.source(sample)
    folder = results.folder
    found = folder / "detections.json"
    announce("detect_nodules")
    calibration = task.triage.calibration
    detect_nodules(
        results.prediction,
        results.volume,
        source,
        found,
        folder / "detections.csv",
        heatmap_output=folder / "heatmap.nii.gz",
        metadata=entry.metadata,
        scan_id=sample,
        timestamp=stated_time() if clock is None else clock.timestamp,
        settings=task.detection,
        calibration=None if calibration is None else Path(calibration),
        limits=task.triage.limits,
        seconds=None if clock is None else clock.seconds,
    )
    announce("measure_detections")
    measure_detections(
        found,
        results.prediction,
        results.quality,
        results.quality_table,
        source=source,
        truth=project.truth(sample),
        metadata=entry.metadata,
        limits=task.quality.limits,
    )
    announce("render_detections")
    page = folder / "report.html"
    render_detections(
        results.prediction,
        results.volume,
        source,
        found,
        DetectionPictures(
            visualization=folder / "visualization.png",
            confidences=folder / "confidence_distribution.png",
            pdf=folder / "report.pdf",
            scene=folder / "3d_rendering.html",
            html=page,
        ),
        quality=results.quality,
        metrics=results.quality_table,
        sample=sample,
        metadata=entry.metadata,
        settings=task.visualization,
        detection=task.detection,
        triage=task.triage.model_dump(mode="json"),
    )
    return page


def refine(project: Project, sample: str, results: SampleResults, announce: Announce) -> Path:
    """Run the refinement of a mosaic from its prediction to its page, which is returned."""
    announce("export_mosaic")
    export_mosaic(
        project.source(sample),
        results.volume,
        results.prediction,
        results.refined,
        results.ledger,
        results.quarantine,
        metadata=project.samples[sample].metadata,
    )
    return judge_tiles(project, sample, results, announce)


def stages_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the stages that a sample passes, by its model, in their order."""
    context = ("extract_context",) if recipe.context is not None else ()
    return (
        "resample_volume",
        "extract_features",
        *context,
        "infer_shard",
        "blend_shards",
        *OF_KIND[recipe.kind],
    )


def run_sample(
    project: Project, sample: str, *, announce: Announce = silent, clock: Clock | None = None
) -> Path:
    """Run every stage of a sample, from its source to its report.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    sample : str
        Name in the sheet; its source, truth and model must be there.
    announce : callable
        Told of each stage when it begins.
    clock : Clock, optional
        Detections state its time. Without it they state none, as in the workflow: a rerun gives
        the same bytes.

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
    project.require(sample)
    results = SampleResults(Path(project.folder(sample)))
    if project.is_tiles(sample):
        return run_tiles(project, sample, announce=announce)[0]
    predict(project, sample, results, announce)
    if project.kind(sample) == "detection":
        return detect(project, sample, results, announce, clock)
    if project.kind(sample) == "refinement":
        return refine(project, sample, results, announce)
    return segment(project, sample, results, announce)


def run_chain(project: Project, sample: str, *, announce: Announce = silent) -> Path:
    """Run a sample, and before it those whose results are its source or its truth.

    All of them are run from the beginning: only the workflow knows what is up to date.

    Parameters
    ----------
    project, sample, announce
        As for `run_sample`.

    Returns
    -------
    Path
        The page of the sample itself.

    Raises
    ------
    ConfigError, ParafoveaError
        As `run_sample`; a note says where the error is another sample's.
    """
    project.require(sample)
    for name in project.upstream(sample):
        try:
            run_sample(project, name, announce=announce)
        except ParafoveaError as error:
            error.add_note(f"it is sample {name!r}, whose result {sample!r} needs")
            raise
    return run_sample(project, sample, announce=announce)
