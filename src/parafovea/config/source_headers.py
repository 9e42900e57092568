"""What the headers of the sources say against their tasks, before anything is planned or run."""

from __future__ import annotations

import functools
from pathlib import Path

from parafovea.config.project import Project
from parafovea.config.sample_files import is_phantom
from parafovea.config.sources import referred
from parafovea.errors import ConfigError, ParafoveaError, describe
from parafovea.formats.location import TABLE_SUFFIXES
from parafovea.formats.metadata import parse_metadata
from parafovea.formats.opening import open_source
from parafovea.formats.truth import open_truth, place_of
from parafovea.geometry.scale import check_scale
from parafovea.quality.truth_on_grid import covered_part


def check_headers(project: Project, names: tuple[str, ...]) -> None:
    """Open the headers of samples, and raise one error for all that make no sense.

    A source has to state the size of its voxels, or the sheet has to; it has to be of the scale of
    its model; a truth has to lie where its source does.

    Parameters
    ----------
    project : Project
        The project.
    names : tuple of str
        Samples; tiles, phantoms and results of other samples are left out.

    Raises
    ------
    ConfigError
        "file:line: what is wrong and the fix", a line a sample.
    """
    found = []
    for name in names:
        try:
            _check_sample(project, name)
        except ParafoveaError as error:
            line = f"{project.settings.samples}:{project.samples[name].line}"
            found.append(f"{line}: sample {name!r}: {describe(error)}")
    if found:
        raise ConfigError("\n".join(found))


def _check_sample(project: Project, name: str) -> None:
    sample, recipe = project.samples[name], project.recipe(name)
    results = project.settings.results
    if project.layout(name) == "tiles" or referred(sample.source) is not None:
        return
    check = functools.partial(
        check_scale, spacing=recipe.spacing, unit=recipe.unit, scan=recipe.is_ct
    )
    if is_phantom(sample.source, results):
        check(sample.source, project.grid(name))
        return
    said = parse_metadata(sample.metadata, folder=Path())
    source = open_source(
        sample.source,
        metadata=said,
        finer_than=recipe.spacing,
        unit=recipe.unit,
        bands=recipe.bands,
    )
    check(sample.source, source.grid, image=bool(recipe.bands))
    if (
        recipe.bands
        or sample.truth is None
        or referred(sample.truth) is not None
        or is_phantom(sample.truth, results)
        or sample.truth.lower().endswith(TABLE_SUFFIXES)
        or recipe.is_ct
    ):
        return
    truth = open_truth(sample.truth, metadata=sample.metadata, like=place_of(source, said))
    if truth is not None:
        grid = source.grid.converted(recipe.unit).resampled(recipe.spacing)
        covered_part(truth.path, truth.grid.converted(grid.unit), grid)
