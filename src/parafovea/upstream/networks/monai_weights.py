"""Weights for a network of MONAI: matched with its class, and written for a model folder."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from parafovea.errors import ModelError, shown
from parafovea.models.networks.monai_network import (
    ARCHITECTURES,
    build,
    weights_problem,
    with_shared,
    without_shared,
)
from parafovea.models.weights_file import write_weights
from parafovea.settings.networks import NETWORK_FILES
from parafovea.upstream.networks.state_files import StateFile
from parafovea.upstream.networks.stated import Found, Stated

#: Arguments that earlier versions of MONAI call otherwise, for any class.
RENAMED = {"dimensions": "spatial_dims", "pos_embed": "proj_type"}

#: Arguments of earlier versions that a class checked, and did not use.
WITHOUT_EFFECT = {"SwinUNETR": ("img_size",)}

#: Names of classes that earlier versions and configs use.
ALIASES = {"flexunet": "FlexibleUNet"}


def monai_found(
    architecture: str,
    arguments: Mapping[str, Any],
    file: StateFile,
    scratch: Path,
    *,
    options: Stated,
    stated: Stated,
    notes: Sequence[str] = (),
    origin: Mapping[str, Any] | None = None,
) -> Found:
    """Return a network of MONAI with its weights, written to a folder.

    Parameters
    ----------
    architecture : str
        Name of the class, also with its module or as earlier versions wrote it.
    arguments : mapping
        Its arguments by name, plain values; also those of earlier versions.
    file : StateFile
        Its weights.
    scratch : Path
        Folder to write the weights to.
    options, stated : Stated
        What the options of the import and the file state.
    notes : sequence of str
        What else the user should know.
    origin : mapping, optional
        Further record of the file.

    Raises
    ------
    ModelError
        If the class is not known, does not take its arguments, or the weights do not fit it.
    """
    source = str(file.path)
    name = class_named(architecture)
    arguments, changes = current_arguments(name, arguments)
    module = build(name, arguments, source=source)
    file = file.named_as(module.state_dict())
    tensors = with_shared(module, file.weights)
    problem = weights_problem(module, tensors)
    if problem is not None:
        raise ModelError(
            f"{source} does not fit {name} with the arguments {shown(arguments)}: {problem}"
        )
    kept = {
        key: (each.float() if each.is_floating_point() else each).contiguous().clone()
        for key, each in without_shared(module, tensors).items()
    }
    path = scratch / NETWORK_FILES["monai"]
    write_weights(kept, path)
    facts = _facts(module, name, arguments)
    if options.dimensions is not None and options.dimensions != facts["dimensions"]:
        raise ModelError(
            f"{source}: {name} has {facts['dimensions']} dimensions by its arguments, not "
            f"{options.dimensions}: leave out --dimensions"
        )
    channels = facts.pop("input_channels")
    known = stated.over(_sided(facts, options.over(stated).axes))
    return Found(
        "monai",
        {path.name: path},
        known,
        channels,
        {**file.origin, **(origin or {})},
        (*notes, *changes, *file.notes),
    )


def class_named(name: str) -> str:
    """Return the class of MONAI that a name means; the name itself if none is known."""
    last = name.rpartition(".")[2].lower()
    known = {each.lower(): each for each in ARCHITECTURES} | ALIASES
    return known.get(last, name)


def current_arguments(
    architecture: str, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return arguments as the class takes them now, and what was changed, a sentence each."""
    found, notes = dict(arguments), []
    for old, new in RENAMED.items():
        if old in found and new not in found:
            found[new] = found.pop(old)
            notes.append(f"the argument {old} of {architecture} is called {new} now")
    for name in WITHOUT_EFFECT.get(architecture, ()):
        if found.pop(name, None) is not None:
            notes.append(f"the argument {name} of {architecture} has no effect and was left out")
    return found, tuple(notes)


def _facts(module: nn.Module, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the class and its arguments state."""
    known = inspect.signature(type(module)).parameters
    values = {key: each.default for key, each in known.items()} | dict(arguments)
    dimensions = values.get("spatial_dims", 3)
    facts: dict[str, Any] = {
        "architecture": name,
        "arguments": dict(arguments),
        "dimensions": dimensions,
        "input_channels": values.get("in_channels"),
    }
    if name == "UNETR":
        sides = values["img_size"]
        sides = list(sides) if isinstance(sides, Sequence) else [sides] * dimensions
        facts |= {"window": sides, "fixed_window": True}
    if name == "BasicUNetPlusPlus" and values["deep_supervision"]:
        facts["entry"] = 3
    return facts


def _sided(facts: dict[str, Any], axes: str | None) -> Stated:
    """Return facts whose window is along z, y, x."""
    window = facts.get("window")
    if window is not None:
        ordered = window[::-1] if axes == "xyz" else window
        facts["window"] = (1,) * (3 - len(ordered)) + tuple(ordered)
    return Stated.model_validate(facts)
