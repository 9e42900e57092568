"""Names of things that live in modules above: known as data, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

#: "package.module:name".
Reference = str


def resolve(reference: Reference) -> Any:
    """Return what a reference names, importing its module.

    Parameters
    ----------
    reference : str
        Such as "parafovea.training.objectives.detection:DetectionObjective".

    Raises
    ------
    ValueError
        If the text has no colon.
    ImportError, AttributeError
        If there is no such module, or nothing of that name in it.
    """
    module, colon, name = reference.partition(":")
    if not colon:
        raise ValueError(f"{reference!r} is no reference: give it as package.module:name")
    return getattr(importlib.import_module(module), name)


def module_of(reference: Reference) -> str:
    """Return the module that a reference names."""
    return reference.partition(":")[0]
