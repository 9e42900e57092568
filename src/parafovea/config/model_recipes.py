"""Recipes of the tasks' models, from the training block or from `model.json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from parafovea.config.schema import Task
from parafovea.errors import ModelError
from parafovea.models.model_json import read_spec, require_cacheable
from parafovea.settings.backbones.folder import DESCRIPTION, read_description
from parafovea.settings.backbones.image_encoder import EncoderArguments
from parafovea.settings.backbones.parsing import parse_arguments
from parafovea.settings.recipe import BackboneSpec, Recipe


def trained_models(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Return the name of the task that trains each model folder.

    Raises
    ------
    ModelError
        If two tasks train the same folder.
    """
    trained: dict[str, str] = {}
    for name, task in tasks.items():
        if task.training is None:
            continue
        if task.model in trained:
            raise ModelError(
                f"tasks {trained[task.model]!r} and {name!r} both train {task.model}: "
                "give each its own model folder"
            )
        trained[task.model] = name
    return trained


def used_tasks(tasks: Mapping[str, Task], named: Iterable[str]) -> dict[str, Task]:
    """Return tasks that are used: those of samples, and those that train what another starts from.

    Parameters
    ----------
    tasks : mapping of str to Task
        All tasks of the config.
    named : iterable of str
        Tasks of the samples; names of no task are left out.
    """
    trained = trained_models(tasks)
    found: dict[str, Task] = {}
    waiting = [name for name in dict.fromkeys(named) if name in tasks]
    while waiting:
        name = waiting.pop(0)
        found[name] = tasks[name]
        training = tasks[name].training
        first = None if training is None or training.start is None else trained.get(training.start)
        if first is not None and first not in (*found, *waiting):
            waiting.append(first)
    return found


def folder_recipe(folder: str, tasks: Mapping[str, Task]) -> Recipe:
    """Return the recipe of a model folder, from the task that trains it or from its `model.json`.

    Parameters
    ----------
    folder : str
        Model folder.
    tasks : mapping of str to Task
        All tasks, one of which may train it.

    Raises
    ------
    ModelError
        If no task trains it, and it is missing or incomplete.
    """
    trainer = trained_models(tasks).get(folder)
    training = None if trainer is None else tasks[trainer].training
    return _stored_recipe(Path(folder)) if training is None else training.recipe


def task_recipe(task: Task, tasks: Mapping[str, Task]) -> Recipe:
    """Return the recipe of a task's model, with the task's overrides applied.

    Parameters
    ----------
    task : Task
        The task.
    tasks : mapping of str to Task
        All tasks, one of which may train the model.

    Returns
    -------
    Recipe
        From the training block for the model folder if there is one, otherwise from its
        `model.json`.

    Raises
    ------
    ModelError
        If the model folder is needed but incomplete.
    """
    recipe = folder_recipe(task.model, tasks)
    trained = task.model in trained_models(tasks)
    require_cacheable(recipe, task.model)
    if trained and "compatibility" in recipe.backbone.arguments:
        raise ModelError(
            f"the recipe that trains {task.model} has a backbone in compatibility mode, which only "
            "reproduces imported models: leave the argument `compatibility` out"
        )
    return recipe.model_copy(update=task.overrides.given)


def require_encoders(recipe: Recipe) -> None:
    """Raise `ModelError` if the file of weights of a model's encoder of images is not there.

    Parameters
    ----------
    recipe : Recipe
        The model, whose backbones `prithvi` and `terramind` are looked at.
    """
    for spec in recipe.backbones:
        arguments = parse_arguments(spec, dimensions=recipe.network.dimensions)
        if not isinstance(arguments, EncoderArguments):
            continue
        if not Path(arguments.weights).expanduser().is_file():
            raise ModelError(
                f"backbone {spec.name}: file {arguments.weights} does not exist: download the "
                "weights (docs/backbones.md), and set the argument `weights` to that file"
            )


def weight_files(backbone: BackboneSpec) -> list[str]:
    """Return the local files of a backbone's weights.

    Parameters
    ----------
    backbone : BackboneSpec
        Any backbone.

    Returns
    -------
    list of str
        Sorted; empty for a backbone without weights, or with weights from the hub, which are
        identified by name and revision.
    """
    folder = Path(str(backbone.arguments.get("weights", ""))).expanduser()
    if "weights" in backbone.arguments and folder.is_file():
        beside = folder.with_name("config.json")
        return sorted(map(str, [folder, beside] if beside.is_file() else [folder]))
    if "weights" not in backbone.arguments or not folder.is_dir():
        return []
    if backbone.name == "network":
        return sorted(map(str, (folder / DESCRIPTION, folder / read_description(folder).graph)))
    return sorted(str(file) for p in ("*.json", "*.safetensors") for file in folder.glob(p))


def _stored_recipe(folder: Path) -> Recipe:
    spec = read_spec(folder)
    missing = [name for name in spec.network_files if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"model folder {folder} has no {missing[0]}: give the folder of a complete model, or "
            "add a `training` block to the task, which creates it"
        )
    return spec
