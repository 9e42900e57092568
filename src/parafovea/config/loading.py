"""Loading of a project from config files, with validation of config, sheet and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parafovea.config.checks import (
    absent_files,
    sample_problems,
    task_problems,
    word_problems,
)
from parafovea.config.context_study import ContextStudySettings
from parafovea.config.feature_study import FeatureStudySettings
from parafovea.config.messages import Origin, problems
from parafovea.config.model_recipes import task_recipe, trained_models, used_tasks
from parafovea.config.project import Project
from parafovea.config.sample_links import band_problems, link_problems
from parafovea.config.schema import Settings
from parafovea.config.sheet import Sample, read_sheet
from parafovea.config.sheet_paths import require_plain_paths, with_phantoms
from parafovea.config.study import StudySettings
from parafovea.errors import ConfigError, ModelError
from parafovea.runtime.documents import CONFIG_BYTES, read_text, yaml_values
from parafovea.runtime.shipped_files import shipped
from parafovea.settings.recipe import Recipe

#: Config file of a repository, relative to its root.
DEFAULT_CONFIG = Path("config/config.yaml")


def config_files(given: Sequence[Path]) -> tuple[Path, ...]:
    """Return the config files to read: that of this folder, if there is one, and those given.

    Parameters
    ----------
    given : sequence of Path
        Files that override it.

    Raises
    ------
    ConfigError
        If there is none at all.
    """
    if DEFAULT_CONFIG.is_file():
        return (DEFAULT_CONFIG, *given)
    if not given:
        raise ConfigError(
            f"{DEFAULT_CONFIG} does not exist in {Path().absolute()}: run this in the root of the "
            "repository, or in a folder with a config of its own, or give a file with --config"
        )
    return tuple(given)


def read_document(file: Path) -> dict[str, Any]:
    """Return the content of a YAML or JSON file.

    Raises
    ------
    ConfigError
        If the file does not exist, is not YAML, is too large, has a key twice, or has no keys.
    """
    try:
        content = yaml_values(read_text(file, "a config", most=CONFIG_BYTES), file)
    except FileNotFoundError as error:
        value = file.name.replace("=", ": ")
        hint = "" if value == file.name else f"; write a single value into it, such as {value}"
        raise ConfigError(f"{file} does not exist: give the path of a config file{hint}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must contain keys and values, such as `tasks:`")
    return content


def read_study(file: Path) -> StudySettings:
    """Read and check the config file of a study: of features where it names some, or of context.

    Raises
    ------
    ConfigError
        If the file does not exist or is not YAML, or a key or a value is invalid.
    """
    values = read_document(file)
    study = FeatureStudySettings if "features" in values else ContextStudySettings
    try:
        return study.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n  ".join(problems(error, study, values, [file]))) from error


def _study(settings: Settings, samples: Mapping[str, Sample]) -> StudySettings | None:
    """Return the study of a config, checked against the sheet; None without one."""
    if settings.study is None:
        return None
    study = read_study(Path(settings.study))
    if found := study.problems(samples):
        raise ConfigError("\n  ".join(f"{settings.study}: {problem}" for problem in found))
    return study


def load_project(values: Mapping[str, Any], *, files: Sequence[Origin] = ()) -> Project:
    """Return the project of a config, checked with its sheet, models and files.

    Parameters
    ----------
    values : mapping
        The config, nested as in YAML.
    files : sequence of Path or mapping
        Files that it was read from, and values of the command line, for messages; later ones
        override earlier ones.

    Returns
    -------
    Project
        The checked project.

    Raises
    ------
    ConfigError
        If a key, a value, the sheet or a source is invalid. The message lists all problems found
        at one level of checking.
    ModelError
        If a model folder in use is incomplete.
    """
    for file in (origin for origin in files if isinstance(origin, Path)):
        read_document(file)  # Snakemake takes the last of a key that is there twice
    settings = checked_settings(values, files=files)
    sheet = Path(settings.samples)
    samples = (with_phantoms(sample, settings.results) for sample in read_sheet(sheet))
    project = assembled(settings, {s.name: s for s in samples}, sheet=sheet, files=files)
    require_plain_paths(project)
    return project


def checked_settings(values: Mapping[str, Any], *, files: Sequence[Origin] = ()) -> Settings:
    """Return the validated settings of a config.

    Raises
    ------
    ConfigError
        If a key or a value is invalid; the message lists all of them.
    """
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n  ".join(problems(error, Settings, values, files))) from error
    return _with_models(settings, files)


def _with_models(settings: Settings, files: Sequence[Origin]) -> Settings:
    """Return the settings with the model folders that lie elsewhere.

    A model that is neither in this folder nor trained here is looked for in the folder above the
    one of the config file, so that `--config REPOSITORY/config/config.yaml` works anywhere, and
    then among the files that come with the package.
    """
    trained = trained_models(settings.tasks)
    tasks = dict(settings.tasks)
    roots = [file.absolute().parent.parent for file in files if isinstance(file, Path)]
    places = [*roots[::-1], shipped(".")]

    def elsewhere(folder: str) -> str | None:
        if folder in trained or Path(folder).exists():
            return None
        return next((str(place / folder) for place in places if (place / folder).is_dir()), None)

    for name, task in settings.tasks.items():
        if (model := elsewhere(task.model)) is not None:
            tasks[name] = task.model_copy(update={"model": model})
        training = task.training
        if training is None or training.start is None:
            continue
        if (start := elsewhere(training.start)) is not None:
            changed = training.model_copy(update={"start": start})
            tasks[name] = tasks[name].model_copy(update={"training": changed})
    return settings.model_copy(update={"tasks": tasks})


def assembled(
    settings: Settings,
    samples: Mapping[str, Sample],
    *,
    sheet: Path,
    files: Sequence[Origin] = (),
) -> Project:
    """Return the project of a config and samples, checked against each other and the files.

    Parameters
    ----------
    settings : Settings
        The config.
    samples : mapping of str to Sample
        By name.
    sheet : Path
        The sample sheet, for messages.
    files : sequence of Path or mapping
        Where the config comes from, for messages.

    Raises
    ------
    ConfigError, ModelError
        As `load_project`.
    """
    found = sample_problems(sheet, samples, settings)
    found += task_problems(settings, samples, files)
    # without a circle alone
    absent = {} if link_problems(sheet, samples, settings) else absent_files(samples, settings)
    if found:
        found += [
            f"{sheet}:{samples[name].line}: sample {name!r}: {reason}"
            for name, reason in absent.items()
        ]
        raise ConfigError("\n  ".join(found))
    recipes: dict[str, Recipe] = {}
    used = used_tasks(settings.tasks, (sample.task for sample in samples.values()))
    for name in used:
        try:
            recipes[name] = task_recipe(settings.tasks[name], used)
        except ModelError as error:
            error.add_note(f"required by task {name!r}")
            raise
    found = task_problems(settings, samples, files, recipes=recipes, absent=absent)
    found += band_problems(sheet, samples, settings, recipes)
    found += word_problems(sheet, samples, settings, recipes, absent=absent)
    if found:
        raise ConfigError("\n  ".join(found))
    return Project(settings, samples, recipes, _study(settings, samples), absent)


def read_project(*files: Path) -> Project:
    """Read and check the project of YAML config files; later files override earlier ones.

    Raises
    ------
    ConfigError
        As `load_project`, and if a file does not exist or is not YAML.
    """
    return load_project(_values(files), files=files)


def read_settings(*files: Path) -> Settings:
    """Read the settings of YAML config files, without the sheet.

    Raises
    ------
    ConfigError
        If a file does not exist or is not YAML, or a key or a value is invalid.
    """
    return checked_settings(_values(files), files=files)


def _values(files: Sequence[Path]) -> dict[str, Any]:
    """Return the merged values of YAML files; later files override earlier ones."""
    values: dict[str, Any] = {}
    for file in files:
        values = _merged(values, read_document(file))
    return values


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two nested mappings merged as Snakemake merges config files."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged
