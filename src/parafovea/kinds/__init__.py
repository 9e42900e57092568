"""The kinds of task: one module each, found by its name; a new module is a new kind."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from parafovea.kinds.kind import Kind, LayoutName

__all__ = ["Kind", "LayoutName", "kind_named", "kinds"]


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """Return all kinds by name: those of the modules of this package that define a `KIND`."""
    modules = (
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
    )
    found = [module.KIND for module in modules if hasattr(module, "KIND")]
    # the first is the default of a config that names none
    return {
        kind.name: kind for kind in sorted(found, key=lambda kind: (not kind.exclusive, kind.name))
    }


def kind_named(name: str) -> Kind:
    """Return the kind of a name.

    Raises
    ------
    KeyError
        If there is none.
    """
    return kinds()[name]
