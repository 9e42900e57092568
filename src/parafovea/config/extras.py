"""Which extras of parafovea a project needs, so that a missing one is found before any job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parafovea.chain.training_stages import train_model
from parafovea.config.project import Project
from parafovea.config.sample_files import is_phantom
from parafovea.config.sources import referred
from parafovea.formats.channel_files import paths_of
from parafovea.formats.location import format_modules
from parafovea.formats.registry import extra_of
from parafovea.formats.remote.address import is_address
from parafovea.runtime.optional_packages import require_extras
from parafovea.settings.networks import ImageNetworkSpec


def require_packages(project: Project, names: Iterable[str] | None = None) -> None:
    """Make sure that the packages are installed that the jobs of a project import.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    names : iterable of str, optional
        Samples to run; by default all, and the models that are trained.

    Raises
    ------
    MissingExtraError
        One for all extras, with what needs them and the command that installs them.
    """
    samples = tuple(project.samples if names is None else names)
    needs: dict[str, str] = {}
    for extra, what in _needs(project, samples, training=names is None):
        needs.setdefault(extra, what)
    needs.pop("", None)
    require_extras(needs)


def _needs(
    project: Project, samples: tuple[str, ...], *, training: bool
) -> Iterator[tuple[str, str]]:
    """Yield each extra that is needed and what needs it; "" for what needs none."""
    for model, task in project.trained.items() if training else ():
        yield train_model.extra, f"task {task!r} trains {model}"
    for task in dict.fromkeys(project.samples[name].task for name in samples):
        recipe, engine = project.recipes[task], project.settings.tasks[task].inference.engine
        for backbone in recipe.backbones:
            yield backbone.extra, f"task {task!r} has the backbone {backbone.name}"
        network = recipe.network
        if isinstance(network, ImageNetworkSpec) and engine != "openvino":
            yield network.extra, f"task {task!r} has a network of type {network.type}"
        if engine == "openvino":
            yield "openvino", f"task {task!r} has the engine {engine}"
    for name in samples:
        for path, extra in _formats(project, name):
            yield extra, f"sample {name!r} reads {path}"
    for name in (name for name in samples if name in project.predicted):
        # of what cannot be read, the stages are not known
        if name not in project.absent:
            for stage in project.stages(name):
                if stage.extra and project.jobs(stage, name):
                    yield stage.extra, f"sample {name!r} has the stage {stage.name}"


def _formats(project: Project, name: str) -> Iterator[tuple[str, str]]:
    """Yield the files that a sample reads, those of this workflow left out, with their extras."""
    sample, bands = project.samples[name], project.reads_bands(name)
    for path in (*paths_of(sample.source), sample.truth, project.true_objects(name)):
        if path is None or referred(path) or is_phantom(path, project.settings.results):
            continue
        if is_address(path):
            yield path, "remote"
        elif name not in project.absent:
            for module in format_modules(path, bands=bands):
                yield path, extra_of(module) or ""
