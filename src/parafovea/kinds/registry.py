"""All kinds by name: a new module of this package that defines a `KIND` is a new kind."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

import parafovea.kinds
from parafovea.kinds.kind import Kind


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """Return all kinds by name; the default of a config that names none comes first."""
    modules = (
        importlib.import_module(f"{parafovea.kinds.__name__}.{found.name}")
        for found in pkgutil.iter_modules(parafovea.kinds.__path__)
    )
    found: list[Kind] = [module.KIND for module in modules if hasattr(module, "KIND")]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: -kind.exclusive)}


def kind_named(name: str) -> Kind:
    """Return the kind of a name, or raise `KeyError` where there is none."""
    return kinds()[name]
