"""In what recipes differ: whether a training can start from a model, or learn from its samples.

Without torch, since the workflow imports this module when it plans jobs.
"""

from __future__ import annotations

from typing import Any

from parafovea.settings.recipe import Recipe

#: What decides the volume and the features of a sample.
INPUTS = (
    "unit",
    "spacing",
    "normalization",
    "bands",
    "raw_input",
    "backbone",
    "context",
    "network.dimensions",
)

#: What decides the layers of a network, and the meaning of the channels that they take.
SAME = (
    "network.type",
    "network.dimensions",
    "network.base_channels",
    "network.max_channels",
    "network.fusion",
    "network.learned_upsampling",
    "network.conditions",
    "bands",
    "raw_input",
    "backbone",
    "context.backbone",
)

#: What decides the channels of the last layer, and their meaning.
SAME_OUTPUT = ("kind", "classes", "residual", "network.output", "network.correction")

#: What may differ, but should not without a reason.
NOTED = ("unit", "spacing", "normalization", "context.spacing", "context.alignment")


def input_difference(recipe: Recipe, other: Recipe) -> str | None:
    """Return the first difference in the inputs of two models, None if they share them.

    Parameters
    ----------
    recipe, other : Recipe
        Recipes of the models.
    """
    for path in INPUTS:
        values = _value(recipe, path), _value(other, path)
        if values[0] != values[1]:
            return f"{path}: {_shown(values[0])} instead of {_shown(values[1])}"
    return None


def unfit_to_start(recipe: Recipe, first: Recipe) -> str | None:
    """Return why a training cannot start from the weights of a model, None if it can.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the training.
    first : Recipe
        Recipe of the model that it starts from.
    """
    for path in SAME:
        own, other = _value(recipe, path), _value(first, path)
        if own != other:
            return f"it has {path}: {_shown(other)}, but the recipe {path}: {_shown(own)}"
    return None


def has_same_output(recipe: Recipe, first: Recipe) -> bool:
    """Return whether the last layer of a model is of use, or of other classes."""
    return all(_value(recipe, path) == _value(first, path) for path in SAME_OUTPUT)


def noted_differences(recipe: Recipe, first: Recipe) -> list[str]:
    """Return how the inputs of a training differ from those that its first weights learned from."""
    return [
        f"{path}: {_shown(_value(recipe, path))} instead of {_shown(_value(first, path))}"
        for path in NOTED
        if _value(recipe, path) != _value(first, path)
    ]


def _value(recipe: Recipe, path: str) -> Any:
    value: Any = recipe.model_dump(mode="json")
    for name in path.split("."):
        value = None if value is None else value.get(name)
    return value


def _shown(value: Any) -> str:
    """Return a value as a config has it: names and numbers, on one line."""
    if isinstance(value, dict):
        given = {key: each for key, each in value.items() if each not in (None, {}, [])}
        return "{" + ", ".join(f"{key}: {_shown(each)}" for key, each in given.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value}"
