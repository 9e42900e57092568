"""The file `model.json` of a model folder, and whether the workflow can run what it describes.

No torch here: the workflow reads these while it plans its jobs.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from parafovea.errors import ModelError
from parafovea.settings.recipe import ModelSpec, Recipe


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
        If the file is missing, is not JSON, or lacks or misstates a fact; names each.
    """
    card = folder / "model.json"
    if not card.is_file():
        raise ModelError(
            f"{folder} is not a model folder: {card.name} is missing; give the folder that "
            "train_model wrote, or list a `training` block so that the workflow makes it"
        )
    try:
        return ModelSpec.model_validate(json.loads(card.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{card} is not JSON ({error}): copy the model folder again") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'model'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ModelError(f"{card} does not describe a model: {problems}") from error


def require_cacheable(recipe: Recipe, model: str) -> None:
    """Raise `ModelError` where a model cannot run from features that are cached once a sample.

    Parameters
    ----------
    recipe : Recipe
        Of the model.
    model : str
        Its folder, for the message.
    """
    network, arguments = recipe.network, recipe.backbone.arguments
    oversampling = (arguments.get("compatibility") or {}).get("oversampling", 1)
    if network.learned_upsampling is not None:
        reason = f"learned upsampling by {network.learned_upsampling}"
    elif network.output != "labels":
        reason = f"the output {network.output}, which are no classes"
    elif oversampling != 1:
        reason = f"an input {oversampling} times as fine as its output"
    else:
        return
    raise ModelError(
        f"{model} has {reason}, which the workflow does not compute: predict with "
        f"parafovea.load_inference_model({model!r}) instead"
    )
