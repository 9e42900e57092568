"""Every stage of a sample, and of those that it needs."""

from __future__ import annotations

from pathlib import Path

from parafovea.config import Project
from parafovea.errors import ParafoveaError
from parafovea.models.spec import Recipe
from parafovea.pipeline.prediction import predict
from parafovea.pipeline.progress import Announce, Clock, silent
from parafovea.pipeline.tiles import run_tiles
from parafovea.pipeline.volumes import detect, refine, segment
from parafovea.planning.forecast import OF_KIND
from parafovea.report.sample import SampleResults


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
