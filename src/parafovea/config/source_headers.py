"""What the files of the samples say against their tasks, before anything is planned or run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from parafovea.config.model_recipes import require_encoders
from parafovea.config.project import Project
from parafovea.config.sample_files import is_phantom
from parafovea.config.sources import referred
from parafovea.errors import ConfigError, ParafoveaError, describe
from parafovea.formats.channel_files import paths_of
from parafovea.formats.channels import open_input
from parafovea.formats.covered_part import covered_part
from parafovea.formats.location import TABLE_SUFFIXES
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_raster
from parafovea.formats.recorded_place import place_of
from parafovea.formats.source import Source
from parafovea.formats.truth import open_truth, open_truth_objects
from parafovea.geometry.grid import Grid
from parafovea.quality.detections.tables import read_findings


def header_problems(project: Project, names: Iterable[str]) -> dict[str, str]:
    """Open the headers of samples, and return those that make no sense, with the reasons.

    A source has to state the size of its voxels, or the sheet has to; it has to be of the scale of
    its model; a truth has to lie where its source does. Of a sample that is archived, nothing is
    opened.

    Parameters
    ----------
    project : Project
        The project.
    names : iterable of str
        Samples; of phantoms and results of other samples, nothing is opened.

    Returns
    -------
    dict of str to str
        In the order of the names.
    """
    found = {}
    for name in names:
        reason = project.failure(name)
        if reason is None and not project.archived(name):
            try:
                _check_files(project, name)
            except ParafoveaError as error:
                reason = describe(error)
        if reason is not None:
            found[name] = reason
    return found


def check_headers(project: Project, names: tuple[str, ...]) -> None:
    """Open the headers of samples, and raise one error for all that make no sense.

    Parameters
    ----------
    project, names
        As for `header_problems`.

    Raises
    ------
    ConfigError
        "file:line: what is wrong and the fix", a line a sample.
    """
    found = header_problems(project, names)
    if found:
        raise ConfigError("\n".join(project.failure_lines(found)))


def _check_files(project: Project, name: str) -> None:
    """Raise the error of a sample's source, truth or true objects, by their headers."""
    sample, recipe = project.samples[name], project.recipe(name)
    require_encoders(recipe)
    if project.layout(name) == "tiles":
        return
    said = parse_metadata(sample.metadata, folder=Path()).for_input(recipe.ranges)
    source, taken = None, said
    if _is_file(project, sample.source):
        first = open_input(
            sample.source,
            bands=recipe.image_bands,
            channels=recipe.volume_channels,
            metadata=said,
            finer_than=recipe.spacing,
            unit=recipe.unit,
        )[0]
        source, taken = first.source, first.metadata
    truth = sample.truth if _is_file(project, sample.truth) else None
    if recipe.is_image:
        if truth is not None and project.kind(name).banded:
            open_raster(truth, bands=recipe.bands, options=said.tiles)
        return
    like = None
    if source is not None and not recipe.is_ct:
        like = place_of(source, taken)
    if _is_file(project, said.objects):
        open_truth_objects(sample.metadata, like=like)
    if truth is None:
        return
    if truth.lower().endswith(TABLE_SUFFIXES):
        read_findings(Path(truth))
        return
    opened = open_truth(truth, metadata=sample.metadata, like=like)
    if opened is not None and source is not None and like is not None:
        _check_place(opened, source.grid.converted(recipe.unit).resampled(recipe.spacing))


def _check_place(truth: Source, grid: Grid) -> None:
    covered_part(truth.path, truth.grid.converted(grid.unit), grid)


def _is_file(project: Project, path: str | None) -> bool:
    """Return whether a path is of files that exist before the run."""
    return (
        path is not None
        and referred(path) is None
        and not any(is_phantom(each, project.settings.results) for each in paths_of(path))
    )
