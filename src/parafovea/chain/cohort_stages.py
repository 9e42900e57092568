"""The stages after those of all samples: one report, and an error if a sample is missing in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parafovea.chain.stage import Caption, Output, Paths, Stage, Wildcards
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
        for sample in project.planned
        for name in READ
        if name in project.result_names(sample)
    ]


def paper_figures(project: Project, wildcards: Wildcards) -> Paths:
    """Return the style file of figures for papers."""
    # imported here, since it is no part of the code of the stages
    from parafovea.runtime.shipped_files import publication_style

    return publication_style()


def _froc_style(project: Project, wildcards: Wildcards) -> Paths:
    """Return the style file, if the report has a figure that is for papers as well."""
    return paper_figures(project, wildcards) if _has_detections(project) else None


def cohort_arguments(project: Project, failed: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of `summarize_cohort`.

    Parameters
    ----------
    project : Project
        The checked project.
    failed : mapping of str to str
        Samples without results, with the reasons.
    """
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
                **({"failure": failed[sample]} if sample in failed else {}),
            }
            for sample in project.predicted
        },
        "embed": project.settings.report.embed,
    }


def _samples(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return cohort_arguments(project, project.failed)


def _has_detections(project: Project) -> bool:
    return project.predicts(layout.DETECTIONS)


def _has_tiles(project: Project) -> bool:
    return project.predicts(layout.TILE_QUALITY)


summarize_cohort = Stage(
    name="summarize_cohort",
    inputs={"style": _froc_style},
    waits=_results,
    outputs={
        "quality": Output(
            f"{layout.COHORT}/quality.tsv",
            caption=Caption("cohort", "Cohort", "metrics of all samples"),
        ),
        "objects": Output(
            f"{layout.COHORT}/objects.tsv",
            caption=Caption("cohort_objects", "Cohort", "objects of all samples"),
        ),
        "detections": Output(
            f"{layout.COHORT}/detections.csv",
            caption=Caption("cohort_detections", "Cohort", "detections of all scans"),
            made=_has_detections,
        ),
        "froc": Output(
            f"{layout.COHORT}/froc",
            folder=True,
            caption=Caption(
                "froc",
                "Cohort",
                "{file} of {task}",
                patterns=("{task}/{file}.svg", "{task}/{file}.tsv"),
            ),
            made=_has_detections,
        ),
        "tiles": Output(
            f"{layout.COHORT}/tiles.tsv",
            caption=Caption("cohort_tiles", "Cohort", "metrics of the tiles of all folders"),
            made=_has_tiles,
        ),
        "figure": Output(
            f"{layout.COHORT}/quality.png", caption=Caption("cohort", "Cohort", "headline metrics")
        ),
        "html": Output(
            layout.PAGE, caption=Caption("cohort_page", "Reports", "report of all samples")
        ),
    },
    sized_by="cohort",
    arguments=_samples,
)


def _report(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the report of the other samples, so that a failure is the last word of a run."""
    return [f"{project.settings.results}/{layout.PAGE}"] if project.planned else []


def _failed(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return {"failed": project.failure_lines()}


report_failures = Stage(
    name="report_failures",
    waits=_report,
    outputs={"unmade": Output(f"{layout.COHORT}/failures")},
    sized_by="cohort",
    arguments=_failed,
)

STAGES = (summarize_cohort, report_failures)
