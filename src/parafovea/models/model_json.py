"""Reading of the file `model.json` of a model folder.

Without torch, since the workflow imports this module when it plans jobs.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from parafovea.errors import ModelError, shown
from parafovea.runtime.documents import json_values, read_text
from parafovea.settings.networks import NETWORK_TAGS, FusedUNetSpec
from parafovea.settings.recipe import ModelSpec, Recipe

#: Most characters of a reason, and most reasons, in a message.
LONGEST_REASON, MOST_PROBLEMS = 500, 20


def require_replaceable(folder: Path) -> None:
    """Raise `ModelError` if a folder that a model is written to holds something else."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "model.json").is_file():
        raise ModelError(
            f"{folder} is a folder without a model.json that holds other things, which a model "
            "would replace: name a new folder, such as resources/models/NAME"
        )


def read_spec(folder: Path) -> ModelSpec:
    """Read the description of a model folder.

    Parameters
    ----------
    folder : Path
        The model folder.

    Returns
    -------
    ModelSpec
        Content of its `model.json`.

    Raises
    ------
    ModelError
        If the file is missing, is not JSON, or has missing or invalid values; names each.
    """
    card = folder / "model.json"
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ModelError(
            f"model folder {folder} {what}: correct the path, which starts from the folder in "
            "which this runs, or add a `training` block so that the workflow trains the model"
        )
    if not card.is_file():
        raise ModelError(
            f"{folder} is not a model folder: {card.name} is missing; use a folder written by "
            "train_model, or add a `training` block so that the workflow trains the model"
        )
    text = read_text(card, "a model's description", error=ModelError)
    values = json_values(text, card, error=ModelError, fix="copy the model folder again")
    try:
        return ModelSpec.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{shown(field_path(problem['loc'])) or 'model'}: "
            f"{shown(problem['msg'], longest=LONGEST_REASON)}"
            for problem in error.errors()[:MOST_PROBLEMS]
        )
        raise ModelError(f"{card} is not a valid description of a model: {problems}") from error


def field_path(parts: Iterable[str | int]) -> str:
    """Return the path of a field in a description, without the tags of a choice of networks."""
    return ".".join(str(part) for part in parts if part not in NETWORK_TAGS)


def require_cacheable(recipe: Recipe, model: str) -> None:
    """Raise `ModelError` if a model cannot run from features that are cached once per sample.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the model.
    model : str
        Folder of the model, for the message.
    """
    if not isinstance(recipe.network, FusedUNetSpec):
        return
    network, arguments = recipe.network, recipe.backbone.arguments
    oversampling = (arguments.get("compatibility") or {}).get("oversampling", 1)
    if network.learned_upsampling is not None:
        reason = f"learned upsampling by {network.learned_upsampling}"
    elif network.output != "labels":
        reason = f"the output {network.output} instead of labels"
    elif oversampling != 1:
        reason = f"an input {oversampling} times finer than its output"
    else:
        return
    raise ModelError(
        f"{model} has {reason}, which the workflow does not support: predict with "
        f"parafovea.load_inference_model({model!r}) instead"
    )
