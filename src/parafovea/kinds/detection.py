"""Detection: a heatmap for each class of finding, and the detections in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from parafovea.chain.cost import PLAIN, Cost, Rates
from parafovea.chain.dicom_stage import export_dicom
from parafovea.chain.stage import Caption, Output, Stage, Wildcards, reads_both, reads_source
from parafovea.chain.tile_stages import PAGE, QUALITY, QUALITY_TABLE, THUMBNAIL
from parafovea.chain.volume_stages import PREDICTION, VOLUME, source_waits
from parafovea.kinds.kind import Kind
from parafovea.storage import layout
from parafovea.storage.blocks import SLAB_PLANES

if TYPE_CHECKING:
    from parafovea.config.project import Project
    from parafovea.planning.work import Work

#: Bytes per voxel of a heatmap in NIfTI, and of a mask of findings in memory.
HEAT, MASK = 4, 8

DETECTIONS = layout.in_sample(layout.DETECTIONS)


def _page(work: Work) -> int:
    """Return the number of voxels in a plane of the scan."""
    return math.prod(work.source.shape[1:])


def _detect_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of holding slabs of heatmap and scan, and writing the heatmap."""
    voxels = work.source.size + work.volume.size
    return Cost(PLAIN + 40 * SLAB_PLANES * _page(work), 20 + voxels / 5e6)


def _measure_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of reading tables, or of holding a mask with its components."""
    memory = PLAIN + 40 * SLAB_PLANES * _page(work) + MASK * work.source.size
    return Cost(memory, 5 + work.source.size / 1e7)


def _render_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of holding a few planes, and a coarse scan for surfaces."""
    return Cost(PLAIN + 1e9 + 100 * _page(work), 60.0)


def _scan(project: Project, sample: str) -> dict[str, Any]:
    return {"source": project.source(sample), "metadata": project.samples[sample].metadata}


def _channels(project: Project, sample: str) -> list[str]:
    return list(project.recipe(sample).volume_channels)


def _detecting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    triage = project.block(sample, "triage")
    return {
        "sample": sample,
        **_scan(project, sample),
        "channels": _channels(project, sample),
        "settings": project.block(sample, "detection"),
        "confidence": project.confidence_file(sample),
        "calibration": triage["calibration"],
        "limits": triage["limits"],
    }


def _detection_waits(project: Project, wildcards: Wildcards) -> list[str]:
    sample = wildcards["sample"]
    files = [project.confidence_file(sample), project.block(sample, "triage")["calibration"]]
    return [*source_waits(project, wildcards), *filter(None, files)]


def _measuring_waits(project: Project, wildcards: Wildcards) -> list[str]:
    truth = project.files(wildcards["sample"])["truth"]
    return [*source_waits(project, wildcards), *truth]


def _measuring(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    return {
        **_scan(project, sample),
        "truth": project.truth(sample),
        "limits": project.limits(sample),
        "scoring": project.block(sample, "scoring"),
        "threshold": project.block(sample, "detection")["peak_detection"]["threshold"],
    }


def _rendering(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    return {
        "sample": sample,
        **_scan(project, sample),
        "channels": _channels(project, sample),
        "settings": project.block(sample, "visualization"),
        "detection": project.block(sample, "detection"),
        "triage": project.block(sample, "triage"),
    }


detect_nodules = Stage(
    name="detect_nodules",
    step="postprocess",
    inputs={"prediction": PREDICTION, "volume": VOLUME},
    waits=_detection_waits,
    outputs={
        "detections": Output(DETECTIONS),
        "table": Output(
            layout.in_sample(layout.DETECTION_TABLE),
            caption=Caption("detection_table", "Detection", "table of the detections"),
        ),
        "heatmap": Output(layout.in_sample(layout.HEATMAP)),
    },
    arguments=_detecting,
    reads=reads_source,
    cost=_detect_cost,
    stored=lambda work: HEAT * work.source.size,
    stores="heatmap",
    clock=True,
)

measure_detections = Stage(
    name="measure_detections",
    step="quality",
    inputs={"detections": DETECTIONS, "prediction": PREDICTION},
    waits=_measuring_waits,
    outputs={
        "quality": Output(QUALITY),
        "table": Output(QUALITY_TABLE, caption=Caption("quality", "Quality", "metrics")),
    },
    arguments=_measuring,
    reads=reads_both,
    cost=_measure_cost,
)

render_detections = Stage(
    name="render_detections",
    step="report",
    inputs={
        "detections": DETECTIONS,
        "prediction": PREDICTION,
        "volume": VOLUME,
        "quality": QUALITY,
        "metrics": QUALITY_TABLE,
    },
    waits=source_waits,
    outputs={
        "html": Output(PAGE, caption=Caption("page", "Reports", "report of the sample")),
        "thumbnail": Output(THUMBNAIL),
        "visualization": Output(
            layout.in_sample(layout.VISUALIZATION),
            caption=Caption("detections", "Detection", "slices"),
        ),
        "confidences": Output(
            layout.in_sample(layout.CONFIDENCES),
            caption=Caption("detections", "Detection", "confidences"),
        ),
        "pdf": Output(
            layout.in_sample(layout.DOCUMENT),
            caption=Caption("document", "Detection", "report to print"),
        ),
        "scene": Output(
            layout.in_sample(layout.SCENE),
            caption=Caption("scene", "Detection", "detections in 3D"),
        ),
    },
    arguments=_rendering,
    reads=reads_source,
    extra="report3d",
    cost=_render_cost,
)

KIND = Kind(
    name="detection",
    meaning="a heatmap and the detections in it",
    scores="a heatmap for each class of finding (sigmoid)",
    classes="names of the classes of findings, without a background",
    blocks={
        "detection": "parafovea.settings.postprocess:DetectionSettings",
        "triage": "parafovea.settings.postprocess:TriageSettings",
        "scoring": "parafovea.settings.quality:ScoringSettings",
        "visualization": "parafovea.settings.report:VisualizationSettings",
    },
    stages={"volume": (detect_nodules, export_dicom, measure_detections, render_detections)},
    results={"volume": layout.HEATMAP},
    on_source_grid=True,
    metrics="parafovea.quality.kind_metrics:detection_metrics",
    problems="parafovea.config.checks:triage_problems",
    objective="parafovea.training.objectives.detection:DetectionObjective",
    cohort_page={"volume": "parafovea.report.detections.scan_view:cohort_view"},
    count="parafovea.drivers.predict_scans:count_detections",
    counted="detections",
    tables_as_truth=True,
    skips_empty=True,
)
