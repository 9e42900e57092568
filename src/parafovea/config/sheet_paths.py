"""Paths of the sheet and of the models, as the workflow can use them."""

from __future__ import annotations

import dataclasses
import re

from parafovea.config.project import Project
from parafovea.config.sheet import Sample
from parafovea.errors import ConfigError
from parafovea.formats.channel_files import with_paths

#: How sheets name phantoms, which are made in the folder of the results, wherever that is.
PHANTOMS = "results/phantoms/"

_OBJECTS = re.compile(rf'objects=(?:"{PHANTOMS}([^"]*)"|{PHANTOMS}(\S*))')

#: What Snakemake takes for a wildcard or a variable.
PATTERN = re.compile(r"[{}]|<[a-z][a-z0-9_]*>")


def with_phantoms(sample: Sample, results: str) -> Sample:
    """Return a sample whose phantoms lie in the folder of the results.

    Parameters
    ----------
    sample : Sample
        Line of the sheet; `results/phantoms/` stands in it for the folder of the phantoms.
    results : str
        Results folder of the config.
    """
    if results == "results":
        return sample

    def placed(path: str) -> str:
        return f"{results}/phantoms/{path}"

    def moved(path: str) -> str:
        return placed(path.removeprefix(PHANTOMS)) if path.startswith(PHANTOMS) else path

    return dataclasses.replace(
        sample,
        source=with_paths(sample.source, moved),
        truth=None if sample.truth is None else moved(sample.truth),
        metadata=_OBJECTS.sub(lambda m: f'objects="{placed(m[1] or m[2])}"', sample.metadata),
    )


def require_plain_paths(project: Project) -> None:
    """Raise an error for paths that Snakemake would take for patterns.

    Parameters
    ----------
    project : Project
        The project.

    Raises
    ------
    ConfigError
        "file:line: path and fix", a line each.
    """
    found = []
    for name, sample in project.samples.items():
        where = f"{project.settings.samples}:{sample.line}: sample {name!r}"
        for what, paths in project.files(name).items():
            found += [f"{where}: {what} {path}" for path in paths if PATTERN.search(path)]
    for name in project.recipes:
        task = project.settings.tasks[name]
        first = [] if task.training is None else [task.training.start or ""]
        models = (model for model in (task.model, *first) if PATTERN.search(model))
        found += [f"task {name!r}: model {model}" for model in models]
    if found:
        fix = "has {…} or <…> in its path, which Snakemake takes for a variable: rename it, or link"
        raise ConfigError("\n  ".join(f"{each} {fix} to it" for each in found))
