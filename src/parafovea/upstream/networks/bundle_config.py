"""The config of a MONAI bundle, read as data: references are followed, nothing is evaluated."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.errors import ModelError, shown
from parafovea.runtime.documents import json_values, read_text, yaml_values

#: Names of the config in `configs`, the first that exists.
NAMES = ("inference.json", "inference.yaml", "inference.yml")

#: Keys of a component besides its arguments.
COMPONENT_KEYS = ("_target_", "_requires_", "_disabled_", "_desc_", "_mode_")

#: Most references that are followed one after the other, and most values that are resolved.
MOST_STEPS, MOST_VALUES = 64, 100_000

_REFERENCE = re.compile(r"[@%]([A-Za-z_]\w*(?:(?:#|::)\w+)*)")
#: The names of layers that MONAI's factories have as constants.
_LAYER = re.compile(r"\$(?:monai\.networks\.layers(?:\.factories)?\.)?(?:Norm|Act)\.([A-Z_0-9]+)")


class BundleConfig:
    """A config whose values are looked up by key.

    Strings that begin with `@` or `%` refer to another key. Of strings that begin with `$`, which
    MONAI evaluates, those are taken that are a literal, a reference alone or a name of a layer.

    Parameters
    ----------
    path : Path
        The file.
    values : mapping
        Its content.
    """

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self._values = values
        self._left = MOST_VALUES

    @classmethod
    def read(cls, path: Path) -> BundleConfig:
        """Read a JSON or YAML file.

        Raises
        ------
        ModelError
            If it is damaged, or no mapping.
        """
        values = read_mapping(path)
        return cls(path, values)

    def raw(self, key: str) -> Any:
        """Return the value of a key as it is written; None if there is none.

        Parameters
        ----------
        key : str
            Names of keys and numbers of items, from the outermost, with `#` between them.
        """
        value: Any = self._values
        for step, name in enumerate(key.split("#")):
            if isinstance(value, str) and step:
                value = self._followed(value, key)
            if isinstance(value, Mapping):
                value = value.get(name)
            elif isinstance(value, Sequence) and name.isdigit() and int(name) < len(value):
                value = value[int(name)]
            else:
                return None
        return value

    def value(self, key: str, fix: str) -> Any:
        """Return the value of a key with all references followed; None if there is none.

        Parameters
        ----------
        key : str
            As for `raw`.
        fix : str
            What to do if it has to be evaluated.

        Raises
        ------
        ModelError
            If it is an expression, or refers to what is not there.
        """
        return self._resolved(self.raw(key), key, fix, 0)

    def _resolved(self, value: Any, key: str, fix: str, depth: int) -> Any:
        self._left -= 1
        if depth > MOST_STEPS or self._left < 0:
            raise ModelError(
                f"{self.path}: {shown(key)} refers to itself or to too many values: write out what "
                "is meant"
            )
        if isinstance(value, Mapping):
            return {
                str(name): self._resolved(item, f"{key}#{name}", fix, depth + 1)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [
                self._resolved(item, f"{key}#{number}", fix, depth + 1)
                for number, item in enumerate(value)
            ]
        if not isinstance(value, str):
            return value
        reference = _reference(value)
        if reference is not None:
            found = self.raw(reference)
            if found is None:
                raise ModelError(
                    f"{self.path}: {shown(key)} is {shown(value)}, but there is no {reference}: "
                    f"{fix}"
                )
            return self._resolved(found, reference, fix, depth + 1)
        if value.startswith("$"):
            return self._literal(value, key, fix)
        if value.startswith(("@", "%")):
            raise ModelError(
                f"{self.path}: {shown(key)} is {shown(value)}, a reference in no known form: {fix}"
            )
        return value

    def _followed(self, value: str, key: str) -> Any:
        """Return what a key on the way to another refers to."""
        for _ in range(MOST_STEPS):
            reference = _reference(value)
            if reference is None:
                return value
            found = self.raw(reference)
            if not isinstance(found, str):
                return found
            value = found
        raise ModelError(f"{self.path}: {shown(key)} refers to itself: write out what is meant")

    def _literal(self, value: str, key: str, fix: str) -> Any:
        layer = _LAYER.fullmatch(value)
        if layer is not None:
            return layer[1].lower()
        try:
            return _plain(ast.literal_eval(value[1:].strip()))
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
            raise ModelError(
                f"{self.path}: {shown(key)} is the Python expression {shown(value)}, and nothing "
                f"in a bundle is evaluated: {fix}"
            ) from error


def read_mapping(path: Path) -> Mapping[str, Any]:
    """Return the mapping in a JSON or YAML file.

    Raises
    ------
    ModelError
        If it is missing or damaged, or no mapping.
    """
    try:
        text = read_text(path, "a config", error=ModelError)
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist: copy the whole bundle") from error
    reader = json_values if path.suffix == ".json" else yaml_values
    values = reader(text, path, error=ModelError)
    if not isinstance(values, Mapping):
        raise ModelError(f"{path} has no keys and values: copy it again")
    return values


def component_name(component: Any) -> str:
    """Return the name of a component's class, without its module; "" for what is none."""
    target = component.get("_target_") if isinstance(component, Mapping) else None
    return target.rpartition(".")[2] if isinstance(target, str) else ""


def _reference(value: str) -> str | None:
    """Return the key that a string refers to; None if it is no reference alone."""
    found = _REFERENCE.fullmatch(value.removeprefix("$"))
    return None if found is None else found[1].replace("::", "#")


def _plain(value: Any) -> Any:
    """Return a literal as JSON would hold it."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{type(value).__name__}")
