"""The stages of the target `figures`: figures of the documentation, and of a project's results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parafovea.chain.cohort_stages import paper_figures
from parafovea.chain.stage import Caption, Output, Paths, Stage, Wildcards
from parafovea.errors import MissingSourceError
from parafovea.storage import layout

if TYPE_CHECKING:
    from parafovea.config.project import Project

SUFFIXES = ("svg", "pdf", "png")


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of the documentation.

    Parameters
    ----------
    drawing : str
        Name of the drawing in `parafovea.report.measured_figures`.
    tables : tuple of str
        Names of its tables in the folder of the config's `measured`.
    command : str
        Command that measures what the tables say.
    options : mapping of str to any
        Options of the drawing.
    """

    drawing: str
    tables: tuple[str, ...]
    command: str
    options: Mapping[str, Any] = field(default_factory=dict)


#: The figures of the documentation by name, which is that of the picture in docs/images.
MEASURED: Mapping[str, Measured] = {
    "context_study": Measured(
        drawing="context_study",
        tables=("context_study.tsv",),
        command="snakemake --cores 2 figures --config study=config/study.yaml",
        options={"ratio": 4},
    ),
    "feature_study_em": Measured(
        drawing="feature_study",
        tables=("feature_study_em.tsv",),
        command="snakemake --cores 2 figures --configfile config/real_em.yaml --config "
        "study=config/study_em_features.yaml",
        options={"metrics": ["iou.mitochondrion", "iou.membrane"]},
    ),
    "feature_study_tiles": Measured(
        drawing="feature_study",
        tables=("feature_study_tiles.tsv",),
        command="snakemake --cores 2 figures --configfile config/real_tiles.yaml --config "
        "study=config/study_tile_features.yaml",
        options={"metrics": ["psnr", "ndvi_rmse"]},
    ),
    "windows": Measured(
        drawing="windows",
        tables=("windows.tsv",),
        command="python -m benchmarks.windows",
    ),
    "real_em": Measured(
        drawing="overlaps",
        tables=("real_em.tsv",),
        command="snakemake --cores 2 --configfile config/real_em.yaml",
    ),
    "real_tiles": Measured(
        drawing="months",
        tables=("real_tiles.tsv",),
        command="snakemake --cores 2 --configfile config/real_tiles.yaml && "
        "python -m benchmarks.real_tiles tables",
        options={
            "labels": {
                "refined": "refined, learned from other dates",
                "phantoms": "refined, learned from phantoms",
            }
        },
    ),
    "froc": Measured(
        drawing="froc",
        tables=("froc_candidates.tsv", "froc_nodules.tsv"),
        command="snakemake --cores 2 --configfile config/nodule_cohort.yaml",
    ),
}


def _tables(project: Project, wildcards: Wildcards) -> Paths:
    measured = MEASURED[wildcards["figure"]]
    return [f"{project.settings.measured}/{name}" for name in measured.tables]


def _drawing(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    measured = MEASURED[wildcards["figure"]]
    return {"drawing": measured.drawing, "options": dict(measured.options)}


draw_measured = Stage(
    name="draw_measured",
    inputs={"tables": _tables, "style": paper_figures},
    outputs={
        suffix: Output(
            f"{layout.DOCUMENTED_FIGURES}/{{figure}}.{suffix}",
            caption=Caption("measured_figure", "Figures", f"measured values, {suffix}"),
        )
        for suffix in SUFFIXES
    },
    sized_by="cohort",
    arguments=_drawing,
)


def drawable(project: Project) -> list[str]:
    """Return the predicted samples with a truth whose results are there."""
    return [
        sample
        for sample in project.planned
        if project.truth(sample) is not None
        and all(map(os.path.exists, _results_of(project, sample)))
    ]


def _results_of(project: Project, sample: str) -> list[str]:
    """Return the results of a sample that figures show."""
    names = project.result_names(sample)
    table = layout.TILE_QUALITY if layout.TILE_QUALITY in names else layout.QUALITY
    wanted = (table, layout.DETECTIONS) if layout.DETECTIONS in names else (table,)
    return [f"{project.folder(sample)}/{name}" for name in wanted]


def _results(project: Project, wildcards: Wildcards) -> list[str]:
    return [path for sample in drawable(project) for path in _results_of(project, sample)]


def _samples(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return {
        "samples": {
            sample: {
                "task": project.samples[sample].task,
                "folder": project.folder(sample),
                "tiles": [project.source(sample), project.truth(sample)]
                if layout.TILE_QUALITY in project.result_names(sample)
                else None,
            }
            for sample in drawable(project)
        }
    }


draw_results = Stage(
    name="draw_results",
    inputs={"style": paper_figures},
    waits=_results,
    outputs={
        "figures": Output(
            layout.RESULT_FIGURES,
            folder=True,
            caption=Caption(
                "result_figures", "Figures", "{file}", patterns=("{file}.svg", "{file}.tsv")
            ),
        )
    },
    sized_by="cohort",
    arguments=_samples,
)


def figure_jobs(project: Project) -> list[tuple[Stage, dict[str, str]]]:
    """Return the jobs of the target `figures`: the documentation's, the samples', the study's.

    Raises
    ------
    MissingSourceError
        If a table of the documentation is missing, or there is nothing to draw.
    """
    jobs: list[tuple[Stage, dict[str, str]]] = []
    if project.settings.measured is not None:
        for name, measured in MEASURED.items():
            _require_tables(project, name, measured)
            jobs.append((draw_measured, {"figure": name}))
    if drawable(project):
        jobs.append((draw_results, {}))
    if not jobs and project.study is None:
        truths = [name for name in project.predicted if project.truth(name) is not None]
        if not truths:
            raise MissingSourceError(
                f"no sample of {project.settings.samples} that is predicted has a truth, so that "
                "there is nothing to draw: add truths to the sheet"
            )
        raise MissingSourceError(
            f"{project.settings.results} has no results of {truths[0]} yet, or of any other sample "
            "with a truth: run snakemake with the same options but without the target `figures` "
            "first, which makes them"
        )
    return jobs


def _require_tables(project: Project, name: str, measured: Measured) -> None:
    for path in _tables(project, {"figure": name}) or ():
        if not Path(path).exists():
            raise MissingSourceError(
                f"{path} is missing, from which the figure {name!r} is drawn: get it from the "
                f"repository, or measure it with `{measured.command}` (docs/paper_figures.md), or "
                "leave these figures out with `measured: null` in the config"
            )


STAGES: Sequence[Stage] = (draw_measured, draw_results)
