"""From the prediction of a volume to its page, by kind."""

from __future__ import annotations

from pathlib import Path

from parafovea.config import Project
from parafovea.pipeline.progress import Announce, Clock
from parafovea.pipeline.tiles import judge_tiles
from parafovea.report.sample import SampleResults
from parafovea.stages.detect_nodules import detect_nodules
from parafovea.stages.export_mosaic import export_mosaic
from parafovea.stages.measure_detections import measure_detections
from parafovea.stages.measure_quality import measure_quality
from parafovea.stages.render_detections import DetectionPictures, render_detections
from parafovea.stages.render_report import render_report
from parafovea.stages.segment_objects import segment_objects
from parafovea.timestamps import stated_time
from parafovea.truth import open_truth, open_truth_objects


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
