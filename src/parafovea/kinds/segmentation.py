"""Segmentation: a class for every voxel, and numbered objects."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parafovea.chain.block_stages import block_jobs, of_block, of_each, parts_of
from parafovea.chain.cost import PLAIN, Cost, Rates
from parafovea.chain.dicom_stage import export_dicom
from parafovea.chain.stage import Caption, Output, Stage, Wildcards, no_arguments, reads_truth
from parafovea.chain.tile_stages import PAGE, QUALITY, QUALITY_TABLE, THUMBNAIL
from parafovea.chain.tile_stages import STAGES as TILE_STAGES
from parafovea.chain.volume_stages import PREDICTION, PROBABILITY, VOLUME
from parafovea.kinds import segmentation_blocks as blocks
from parafovea.kinds.kind import Kind
from parafovea.storage import layout
from parafovea.storage.blocks import DRAWN_ROWS, VOLUME_SHARD

if TYPE_CHECKING:
    from parafovea.config.project import Project
    from parafovea.planning.work import Work
    from parafovea.settings.recipe import Recipe

#: Bytes of a class index and of an object id.
LABELS = 5

#: Memory of the sums of a block of a segmentation, in bytes.
COUNTED = 10e6

#: Bytes of a voxel of a block that is measured, besides its probabilities.
MEASURED = 40

#: Bytes of a voxel of one array while it is drawn.
DRAWN = 16

CLASSES = layout.in_sample(layout.CLASSES)
OBJECTS = layout.in_sample(layout.OBJECTS)
OBJECT_TABLE = layout.in_sample(layout.OBJECT_TABLE)
QUALITY_COUNTS = layout.in_sample(layout.BLOCKS, "quality", "{block}.npz")


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


def _counting_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of comparing all blocks with their truth, and of holding one of them."""
    block = math.prod(min(n, m) for n, m in zip(work.predicted, VOLUME_SHARD, strict=True))
    memory = PLAIN + (PROBABILITY * len(work.recipe.classes) + MEASURED) * block
    return Cost(memory, math.prod(work.predicted) / 3e6)


def _measure_cost(work: Work, rates: Rates) -> Cost:
    """Return the cost of counting and, for several blocks, only of uniting their counts."""
    if work.blocks == 1:
        return _counting_cost(work, rates)
    components = math.prod(work.predicted) / blocks.VOXELS_PER_COMPONENT
    return Cost(PLAIN + COUNTED + blocks.UNITED * components, 0.05 * work.blocks)


def _report_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of reading a few planes, some rows of each array at a time."""
    y, x = work.predicted[1:]
    classes = len(work.recipe.classes)
    memory = PLAIN + DRAWN * (classes + 2) * min(y, DRAWN_ROWS) * x
    return Cost(memory, 20 + (classes + 2) * y * x / 1e7)


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


def _counting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    return of_block(_truth(project, sample), wildcards, project.division(sample).blocks)


def _counts(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the counts of all blocks; nothing for a volume of one block."""
    if project.division(wildcards["sample"]).blocks == 1:
        return []
    return parts_of(QUALITY_COUNTS)(project, wildcards)


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
    inputs={"prediction": PREDICTION, "volume": VOLUME},
    outputs={
        "classes": Output(CLASSES, folder=True),
        "objects": Output(OBJECTS, folder=True),
        "table": Output(
            OBJECT_TABLE, caption=Caption("objects", "Segmentation", "table of the objects")
        ),
        "image": Output(layout.in_sample(layout.IMAGE), folder=True),
    },
    arguments=_segmenting,
    cost=_segment_cost,
    stored=lambda work: LABELS * work.predicted_in_levels,
    stores="objects",
)

join_objects = replace(
    segment_objects,
    name="join_objects",
    blockwise=True,
    inputs={**blocks.PARTS, "volume": VOLUME},
    arguments=no_arguments,
    cost=blocks.objects_join_cost,
)

measure_quality_block = Stage(
    name="measure_quality_block",
    step="quality",
    blockwise=True,
    inputs={"prediction": PREDICTION, "classes": CLASSES, "objects": OBJECTS},
    waits=_truth_files,
    # small, and kept as features are, so that another limit counts nothing again
    outputs={"counts": Output(QUALITY_COUNTS, temporary=True)},
    arguments=_counting,
    reads=reads_truth,
    jobs=block_jobs,
    cost=of_each(_counting_cost),
)

measure_quality = Stage(
    name="measure_quality",
    step="quality",
    inputs={
        "prediction": PREDICTION,
        "classes": CLASSES,
        "objects": OBJECTS,
        "parts": _counts,
    },
    waits=_truth_files,
    outputs={
        "quality": Output(QUALITY),
        "table": Output(QUALITY_TABLE, caption=Caption("quality", "Quality", "metrics")),
    },
    arguments=_measuring,
    reads=reads_truth,
    cost=_measure_cost,
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
        "html": Output(PAGE, caption=Caption("page", "Reports", "report of the sample")),
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
            export_dicom,
            measure_quality_block,
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
