"""The stage that summarizes all samples in one report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parafovea.chain.stage import Caption, Output, Stage, Wildcards
from parafovea.storage import layout

if TYPE_CHECKING:
    from parafovea.config.project import Project

#: Results of a sample that the report reads, if the sample has them.
READ = (
    *(layout.PAGE, layout.THUMBNAIL, layout.PREDICTION, layout.OBJECT_TABLE, layout.DETECTIONS),
    *(layout.TILE_QUALITY, layout.QUALITY, layout.QUALITY_TABLE),
)


def _results(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the results, of all samples, that the report reads."""
    return [
        f"{project.folder(sample)}/{name}"
        for sample in project.predicted
        for name in READ
        if name in project.result_names(sample)
    ]


def _samples(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return {
        "samples": {
            sample: {
                "task": project.samples[sample].task,
                "folder": project.folder(sample),
                "kind": project.kind(sample).name,
                "page": project.kind(sample).cohort_page[project.layout(sample)],
                **{
                    what: name in project.result_names(sample)
                    for what, name in (
                        ("objects", layout.OBJECT_TABLE),
                        ("detections", layout.DETECTIONS),
                        ("tiles", layout.TILE_QUALITY),
                    )
                },
            }
            for sample in project.predicted
        }
    }


def _has_detections(project: Project) -> bool:
    return project.predicts(layout.DETECTIONS)


def _has_tiles(project: Project) -> bool:
    return project.predicts(layout.TILE_QUALITY)


summarize_cohort = Stage(
    name="summarize_cohort",
    waits=_results,
    outputs={
        "quality": Output(
            f"{layout.COHORT}/quality.tsv",
            caption=Caption("cohort", "Cohort", "metrics of all samples"),
        ),
        "objects": Output(f"{layout.COHORT}/objects.tsv"),
        "detections": Output(f"{layout.COHORT}/detections.csv", made=_has_detections),
        "froc": Output(f"{layout.COHORT}/froc", folder=True, made=_has_detections),
        "tiles": Output(f"{layout.COHORT}/tiles.tsv", made=_has_tiles),
        "figure": Output(
            f"{layout.COHORT}/quality.png", caption=Caption("cohort", "Cohort", "headline metrics")
        ),
        "html": Output(layout.PAGE),
    },
    sized_by="cohort",
    arguments=_samples,
)
