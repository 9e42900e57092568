"""References to code in higher layers, imported on use."""

from __future__ import annotations

import importlib
from typing import Any

#: "package.module:name".
Reference = str


def resolve(reference: Reference) -> Any:
    """Import and return the object that a reference names.

    Parameters
    ----------
    reference : str
        For example "parafovea.training.objectives.detection:DetectionObjective".

    Raises
    ------
    ValueError
        If the text has no colon.
    ImportError, AttributeError
        If there is no such module, or it has no such attribute.
    """
    module, colon, name = reference.partition(":")
    if not colon:
        raise ValueError(f"{reference!r} is not a reference: use the form package.module:name")
    return getattr(importlib.import_module(module), name)


def module_of(reference: Reference) -> str:
    """Return the module that a reference names."""
    return reference.partition(":")[0]
