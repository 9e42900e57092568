"""Checks of the training of a task against the sheet and against other models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parafovea.config.messages import suggestion
from parafovea.config.model_recipes import folder_recipe, trained_models
from parafovea.config.schema import Settings
from parafovea.config.sheet import Sample
from parafovea.errors import ModelError
from parafovea.models.model_json import require_replaceable
from parafovea.settings.recipe_comparison import input_difference, unfit_to_start

#: Paths of keys of a config, each with a problem and its fix.
Problems = list[tuple[tuple[str | int, ...], str]]


def training_problems(name: str, settings: Settings, samples: Mapping[str, Sample]) -> Problems:
    """Return what is wrong with the training of a task: its folder, samples and first weights.

    Parameters
    ----------
    name : str
        The task.
    settings : Settings
        The config.
    samples : mapping of str to Sample
        The sheet, by name.

    Returns
    -------
    list of tuple
        Path of a key, and the problem with its fix.
    """
    training = settings.tasks[name].training
    if training is None:
        return []
    found: Problems = []
    try:
        require_replaceable(Path(settings.tasks[name].model))
    except ModelError as error:
        found.append((("tasks", name, "model"), str(error)))
    for key, chosen in (("samples", training.samples), ("validation", training.validation)):
        for index, sample in enumerate(chosen):
            path = ("tasks", name, "training", key, index)
            if sample not in samples:
                hint = suggestion(sample, samples) or ": add a line for it"
                found.append((path, f"sample {sample!r} is not in {settings.samples}{hint}"))
            elif samples[sample].truth is None:
                found.append((path, f"sample {sample!r} has no truth: fill its `truth` column"))
            elif (other := _unlike_inputs(settings, name, samples[sample].task)) is not None:
                found.append(
                    (
                        path,
                        f"sample {sample!r} belongs to task {samples[sample].task!r}{other}: "
                        f"assign it to task {name!r}, so that its features match the model",
                    )
                )
            elif key == "validation" and sample in training.samples:
                found.append(
                    (
                        path,
                        f"sample {sample!r} is also a training sample: keep it in one of the two",
                    )
                )
    return found + _start_problems(name, settings)


def _unlike_inputs(settings: Settings, name: str, other: str) -> str | None:
    """Return how the samples of another task differ from what a task's model takes, None if not.

    Two tasks that train models of the same inputs can learn from the same samples.
    """
    if name == other:
        return None
    tasks = [settings.tasks[each] for each in (name, other) if each in settings.tasks]
    trainings = [task.training for task in tasks if task.training is not None]
    if len(trainings) < 2 or tasks[0].input != tasks[1].input:
        return ""
    difference = input_difference(trainings[1].recipe, trainings[0].recipe)
    return None if difference is None else f", whose recipe has {difference}"


def _start_problems(name: str, settings: Settings) -> Problems:
    """Return why the training of a task cannot start from the model that it names."""
    training = settings.tasks[name].training
    if training is None or training.start is None:
        return []
    path = ("tasks", name, "training", "start")
    trained = trained_models(settings.tasks)
    chain = [settings.tasks[name].model]
    while (start := _start_of(chain[-1], trained, settings)) is not None:
        if start in chain:
            needs = " starts from ".join([*chain[chain.index(start) :], start])
            return [(path, f"{needs}: start from a model that does not need this one")]
        chain.append(start)
    try:
        problem = unfit_to_start(training.recipe, folder_recipe(training.start, settings.tasks))
    except ModelError as error:
        return [(path, str(error))]
    if problem is None:
        return []
    fix = "change the recipe, or start from another model"
    return [(path, f"{training.start} does not fit: {problem}: {fix}")]


def _start_of(model: str, trained: Mapping[str, str], settings: Settings) -> str | None:
    """Return the model that the training of a model starts from."""
    training = settings.tasks[trained[model]].training if model in trained else None
    return None if training is None else training.start
