"""Readable messages for pydantic errors: file, line, key, value, allowed values and fix."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from parafovea.errors import quoted, shown
from parafovea.runtime.documents import yaml_node

Key = str | int

#: Plain words for errors of pydantic, which speaks of Python.
_PLAIN = {
    **dict.fromkeys(
        ("model_type", "dict_type", "model_attributes_type"),
        "must hold keys and values of its own, such as `key: value`",
    ),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list, such as [1, 2, 3]"),
    "too_long": "has too many values: one for each of z, y, x",
    "string_type": "must be text, in double quotes if it looks like a number",
    "string_too_short": "must not be empty",
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
}

#: Where values of the config come from: a file, or the values themselves from the command line.
Origin = Path | Mapping[str, Any]

#: Most characters of a value, and of a reason, in a message.
LONGEST_VALUE, LONGEST_TEXT = 80, 1000
#: Most problems that are told at once.
MOST_PROBLEMS = 50


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Return ": did you mean 'x'?" for the choice closest to `word`, or "".

    Parameters
    ----------
    word : str
        The word to match.
    choices : iterable of str
        The valid words.

    Returns
    -------
    str
        Text to append to a message.
    """
    if len(word) > LONGEST_VALUE:
        return ""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f": did you mean {close[0]!r}?" if close else ""


def locate(files: Sequence[Origin], path: Sequence[Key]) -> str:
    """Return the location of a key as "file:line", in the last file that has it.

    Parameters
    ----------
    files : sequence of Path or mapping
        YAML or JSON files, and values of the command line; later ones override earlier ones.
    path : sequence of str or int
        Keys from the top level to the value.

    Returns
    -------
    str
        Location of the deepest part of the path found in any file, or "command line"; "config"
        without files.
    """
    best, place = -1, "config"
    for file in files:
        if isinstance(file, Mapping):
            depth = _depth(file, path)
            # a file is named for what no origin has
            if depth >= max(best, 1):
                best, place = depth, "command line (--config)"
            continue
        try:
            node = yaml_node(file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, yaml.YAMLError):
            node = None  # the file itself is the problem, which is told elsewhere
        depth, line = 0, 1
        for key in path:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
            depth += 1
        if depth >= best:
            best, place = depth, f"{_shown(file)}:{line}"
    return place


def _depth(values: Any, path: Sequence[Key]) -> int:
    """Return how many of the keys of a path are in nested values."""
    for depth, key in enumerate(path):
        if not _holds(values, key):
            return depth
        values = values[key]
    return len(path)


def _shown(file: Path) -> Path:
    here = Path().absolute()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _child(node: Any, key: Key) -> tuple[int, Any] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        value = node.value[key]
        return value.start_mark.line + 1, value
    return None


def problems(
    error: ValidationError,
    model: type[BaseModel],
    values: Mapping[str, Any],
    files: Sequence[Origin],
) -> list[str]:
    """Return one line for each key with a validation error.

    Parameters
    ----------
    error : ValidationError
        Error from the validation of `values`.
    model : type of BaseModel
        Model that they were validated against; gives the allowed keys.
    values : mapping
        The values, nested.
    files : sequence of Path or mapping
        Where they come from, as for `locate`.

    Returns
    -------
    list of str
        "file:line: key = value: problem and fix", one line per key.
    """
    lines: dict[tuple[Key, ...], list[str]] = {}
    words: set[tuple[Key, ...]] = set()
    for item in error.errors(include_url=False):
        path = _real_path(item["loc"], values, keep_last=item["type"] == "missing")
        lines.setdefault(path, []).append(_explain(item, path, model))
        if item["type"] == "literal_error" and isinstance(item["input"], list):
            words.add(path)
    # a list with a wrong part is not told that it might be a word
    for path in words:
        if any(other[: len(path)] == path for other in lines.keys() - {path}):
            del lines[path]
    found = []
    for path, texts in islice(lines.items(), MOST_PROBLEMS):
        keys = ".".join(shown(str(key), longest=LONGEST_VALUE) for key in path) or "the file"
        found.append(f"{locate(files, path)}: {keys}{_joined(texts)}")
    if len(lines) > MOST_PROBLEMS:
        found.append(f"… and {len(lines) - MOST_PROBLEMS} more")
    return found


def _joined(texts: Sequence[str]) -> str:
    """Return the texts of one key, with the value that they share said once."""
    first, *others = texts
    value, colon, _ = first.partition(": ")
    return " or ".join([first, *(text.removeprefix(value + colon) for text in others)])


def _real_path(
    location: tuple[Key, ...], values: Mapping[str, Any], *, keep_last: bool
) -> tuple[Key, ...]:
    """Return the location without pydantic's names for members of a union."""
    path: list[Key] = []
    here: Any = values
    for key in location:
        if not _holds(here, key):
            if keep_last and key == location[-1]:
                path.append(key)
            continue
        here = here[key]
        path.append(key)
    return tuple(path)


def _holds(values: Any, key: Key) -> bool:
    if isinstance(values, Mapping):
        return key in values
    return isinstance(values, list | tuple) and isinstance(key, int) and key < len(values)


def _explain(item: Any, path: tuple[Key, ...], model: type[BaseModel]) -> str:
    fault, value = item["type"], item["input"]
    if fault == "extra_forbidden":
        allowed = _keys_at(model, path[:-1])
        hint = suggestion(str(path[-1]), allowed)
        return f" is not a known key{hint or ':'} allowed here: {', '.join(allowed)}"
    if fault == "missing":
        if isinstance(path[-1], int):
            return " is missing: the list needs a value for each of z, y, x"
        return " is missing: add it"
    if item["loc"][-1:] == ("[key]",):
        return f": the name {quoted(value)} is not text: put it in double quotes"
    if fault == "too_short":
        return f" must hold at least {item['ctx']['min_length']}"
    text = _PLAIN.get(fault) or item["msg"].removeprefix("Value error, ")
    text = shown(text, longest=LONGEST_TEXT)
    if fault in ("model_type", "dict_type", "model_attributes_type"):
        allowed = _keys_at(model, path)
        text += f"; keys are {', '.join(allowed)}" if allowed else ""
    text = text.replace("Input should", "must").replace("String should", "must")
    expected = item.get("ctx", {}).get("expected", "")
    hint = (
        suggestion(value, expected.replace("'", "").replace(" or ", ", ").split(", "))
        if (fault == "literal_error" and isinstance(value, str))
        else ""
    )
    said = quoted(value, longest=LONGEST_VALUE)
    if isinstance(value, Mapping) or len(said) > LONGEST_VALUE:
        return f": {text}{hint}"
    return f" = {said}: {text}{hint}"


def _keys_at(model: type[BaseModel], path: Sequence[Key]) -> list[str]:
    """Return the names of the fields that the model has at a path."""
    here: Any = model
    for key in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[str(key)].annotation
        elif get_origin(here) is dict:
            here = get_args(here)[1]
        else:
            return []
        here = _without_none(here)
    if isinstance(here, type) and issubclass(here, BaseModel):
        return list(here.model_fields)
    return []


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(a for a in get_args(annotation) if a is not type(None))
    return annotation
