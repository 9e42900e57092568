"""Segmentation: a class for every voxel, and numbered objects."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parafovea.chain.cost import PLAIN, Cost, Rates
from parafovea.chain.stage import Caption, Output, Stage, Wildcards, no_arguments, reads_truth
from parafovea.chain.tile_stages import PAGE, QUALITY, QUALITY_TABLE, THUMBNAIL
from parafovea.chain.tile_stages import STAGES as TILE_STAGES
from parafovea.chain.volume_stages import PREDICTION, VOLUME
from parafovea.kinds import segmentation_blocks as blocks
from parafovea.kinds.kind import Kind
from parafovea.storage import layout
from parafovea.storage.blocks import SLAB_PLANES

if TYPE_CHECKING:
    from parafovea.config.project import Project
    from parafovea.planning.work import Work
    from parafovea.settings.recipe import Recipe

#: Bytes of a class index and of an object id.
LABELS = 5

CLASSES = layout.in_sample(layout.CLASSES)
OBJECTS = layout.in_sample(layout.OBJECTS)
OBJECT_TABLE = layout.in_sample(layout.OBJECT_TABLE)


def _check(recipe: Recipe) -> None:
    if len(recipe.classes) < 2:
        raise ValueError(
            f"classes are {', '.join(recipe.classes)}, but a segmentation needs at least 2, the "
            "background first: name them, or set kind: detection"
        )


def _segment_cost(work: Work, rates: Rates) -> Cost:
    """Return the cost of the steps of a volume in blocks, all in one job."""
    parts = [stage.cost(work, rates) for stage in blocks.STAGES if stage.jobs(work.division)]
    return Cost(max(part.memory for part in parts), sum(part.seconds for part in parts))


def _slab_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of holding a slab with its classes, components and objects, or its truth."""
    z, y, x = work.predicted
    return Cost(PLAIN + 40 * min(z, SLAB_PLANES) * y * x, z * y * x / 3e6)


def _report_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of holding a few planes of each array."""
    return Cost(PLAIN + 100 * math.prod(work.predicted[1:]), 20.0)


def _segmenting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    settings = project.block(wildcards["sample"], "postprocess")
    return {
        "method": settings["method"],
        "connectivity": settings["connectivity"],
        "class_settings": settings["classes"],
    }


def _truth_files(project: Project, wildcards: Wildcards) -> list[str]:
    files = project.files(wildcards["sample"])
    return [*files["truth"], *files["objects"], *files["metadata"]]


def _truth(project: Project, sample: str) -> dict[str, Any]:
    return {"truth": project.truth(sample), "metadata": project.samples[sample].metadata}


def _measuring(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    return {**_truth(project, sample), "limits": project.limits(sample)}


def _rendering(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    return {
        "sample": sample,
        **_truth(project, sample),
        "settings": project.block(sample, "report"),
    }


segment_objects = Stage(
    name="segment_objects",
    step="postprocess",
    blockwise=False,
    inputs={"prediction": PREDICTION},
    outputs={
        "classes": Output(CLASSES, folder=True),
        "objects": Output(OBJECTS, folder=True),
        "table": Output(OBJECT_TABLE),
    },
    arguments=_segmenting,
    cost=_segment_cost,
    stored=lambda work: LABELS * math.prod(work.predicted),
    stores="objects",
)

join_objects = replace(
    segment_objects,
    name="join_objects",
    blockwise=True,
    inputs=blocks.PARTS,
    arguments=no_arguments,
    cost=blocks.objects_join_cost,
)

measure_quality = Stage(
    name="measure_quality",
    step="quality",
    inputs={"prediction": PREDICTION, "classes": CLASSES, "objects": OBJECTS},
    waits=_truth_files,
    outputs={
        "quality": Output(QUALITY),
        "table": Output(QUALITY_TABLE, caption=Caption("quality", "Quality", "metrics")),
    },
    arguments=_measuring,
    reads=reads_truth,
    cost=_slab_cost,
    short=True,
)

render_report = Stage(
    name="render_report",
    step="report",
    inputs={
        "volume": VOLUME,
        "prediction": PREDICTION,
        "classes": CLASSES,
        "objects": OBJECTS,
        "table": OBJECT_TABLE,
        "quality": QUALITY,
        "metrics": QUALITY_TABLE,
    },
    waits=_truth_files,
    outputs={
        "html": Output(PAGE),
        "thumbnail": Output(THUMBNAIL),
        **{
            name: Output(
                layout.in_sample(layout.FIGURES, f"{name}.png"),
                caption=Caption(name, "Segmentation", content),
            )
            for name, content in (
                ("overlays", "overlays"),
                ("probabilities", "probabilities"),
                ("sizes", "object sizes"),
            )
        },
    },
    arguments=_rendering,
    reads=reads_truth,
    cost=_report_cost,
    short=True,
)

KIND = Kind(
    name="segmentation",
    meaning="classes and objects",
    scores="every voxel has one class (softmax)",
    classes="class names, the first is the background, at least 2",
    exclusive=True,
    check_recipe=_check,
    blocks={
        "postprocess": "parafovea.settings.postprocess:PostprocessSettings",
        "report": "parafovea.settings.report:ReportSettings",
    },
    stages={
        "volume": (
            *blocks.STAGES,
            join_objects,
            segment_objects,
            measure_quality,
            render_report,
        ),
        "tiles": TILE_STAGES,
    },
    results={"volume": layout.CLASSES, "tiles": layout.TILES},
    metrics="parafovea.quality.kind_metrics:segmentation_metrics",
    problems="parafovea.config.checks:class_problems",
    tile_measures="parafovea.quality.tiles.segmented:SegmentedTiles",
    objective="parafovea.training.objectives.segmentation:SegmentationObjective",
    cohort_page={
        "volume": "parafovea.report.segmentation.sample_view:cohort_view",
        "tiles": "parafovea.report.tiles.segmented_report:cohort_view",
    },
    count="parafovea.drivers.predict_scans:count_objects",
    counted="objects",
)
