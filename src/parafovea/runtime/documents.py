"""Text, YAML and JSON of users and strangers, read within a stated size, depth and count of values.

YAML repeats what an anchor names as often as it is referred to, so that ten lines stand for ten
thousand million values; a sheet may be a disk image, and a config a folder. Each of these is one
error, before anything is built.
"""

from __future__ import annotations

import json
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from parafovea.errors import ConfigError, ParafoveaError, quoted, shown

#: Most bytes of a config, and of any other file of keys and values.
CONFIG_BYTES, DOCUMENT_BYTES = 1 << 20, 16 << 20
#: Most values of a document, each counted wherever an anchor repeats it.
VALUES = 100_000
#: Most lists and mappings inside each other.
DEPTH = 64

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_bytes(
    path: Path,
    what: str,
    *,
    most: int = DOCUMENT_BYTES,
    error: type[ParafoveaError] = ConfigError,
) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it should be, for messages: "a config".
    most : int
        Most bytes.
    error : type of ParafoveaError
        Class of the errors.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    ParafoveaError
        If it is no regular file, is too large, or cannot be read.
    """
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise error(f"{path} is a folder, not {what}: give the path of a file")
        if not stat.S_ISREG(facts.st_mode):
            raise error(f"{path} is a device or a pipe, not {what}: give the path of a file")
        if facts.st_size > most:
            raise error(
                f"{path} has {facts.st_size} bytes, but {what} has at most {most}: give another "
                "file, or shorten it"
            )
        with path.open("rb") as file:
            return file.read(most + 1)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise error(
            f"{path} cannot be read ({problem.strerror or problem}): check its permissions"
        ) from problem


def read_text(
    path: Path,
    what: str,
    *,
    most: int = DOCUMENT_BYTES,
    error: type[ParafoveaError] = ConfigError,
) -> str:
    """Return the text of a file in UTF-8, without a byte-order mark.

    Parameters
    ----------
    path, what, most, error
        As for `read_bytes`.

    Raises
    ------
    FileNotFoundError, ParafoveaError
        As `read_bytes`, and if it is not UTF-8 text.
    """
    try:
        return read_bytes(path, what, most=most, error=error).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(
            f"{path} is not UTF-8 text (byte {problem.start}), as {what} must be: save it as UTF-8"
        ) from problem


def yaml_values(text: str, where: object, *, error: type[ParafoveaError] = ConfigError) -> Any:
    """Return what a YAML text describes, with each key once.

    Parameters
    ----------
    text : str
        YAML, or JSON.
    where : object
        Its file, for messages.
    error : type of ParafoveaError
        Class of the errors.

    Raises
    ------
    ParafoveaError
        If it is not YAML, has a key twice in one mapping, is nested too deeply, or has too many
        values, those counted that anchors repeat.
    """
    try:
        node = yaml_node(text)
        if node is None:
            return None
        _require_small(node)
        return _constructed(text)
    except yaml.YAMLError as found:
        mark = getattr(found, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        reason = getattr(found, "problem", None) or " ".join(str(found).split())
        raise error(f"{where} is not YAML{line}: {shown(reason)}") from found
    except _BoundError as found:
        raise error(f"{where}: {found}") from found
    except ValueError as found:  # such as a number of 5000 digits
        raise error(f"{where} is not YAML: {shown(' '.join(str(found).split()))}") from found


def json_values(
    text: str,
    where: object,
    *,
    error: type[ParafoveaError] = ConfigError,
    fix: str = "correct it, or copy it again",
) -> Any:
    """Return what a JSON text describes.

    Parameters
    ----------
    text : str
        JSON.
    where : object
        Its file, for messages.
    error : type of ParafoveaError
        Class of the errors.
    fix : str
        What to do about it.

    Raises
    ------
    ParafoveaError
        If it is not JSON, is nested too deeply, or has a key twice in one object.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise error(f"{where}: key {quoted(twice)} is there twice: keep one")
        return values

    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError as found:
        raise error(f"{where} is not JSON (it is nested too deeply): {fix}") from found
    except ParafoveaError:
        raise
    except ValueError as found:
        raise error(f"{where} is not JSON ({shown(str(found))}): {fix}") from found


def _constructed(text: str) -> Any:
    # a loader merges what `<<` names into its nodes, so it needs nodes of its own
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _BoundError(ValueError):
    """A document that is nested too deeply or has too many values."""


@lru_cache(maxsize=8)
def yaml_node(text: str) -> yaml.Node | None:
    """Return the tree of a YAML text, whose nodes know their lines; None if it is empty.

    Raises
    ------
    yaml.YAMLError
        If it is not YAML.
    ValueError
        If it is nested too deeply or has too many values, before those of anchors are repeated.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH:
            line = 1 + (0 if event.start_mark is None else event.start_mark.line)
            raise _BoundError(
                f"line {line} is nested more than {DEPTH} times: remove brackets or indentation"
            )
        if number > 2 * VALUES:
            raise _BoundError(f"it has more than {VALUES} values: give a smaller file")
    return yaml.compose(text, Loader=_Loader)


def _require_small(root: yaml.Node) -> None:
    """Raise `ValueError` for a key that is there twice, and for what anchors repeat too often."""
    counts: dict[int, int] = {}
    unfinished: set[int] = set()

    def count(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        line = node.start_mark.line + 1
        if id(node) in unfinished:
            raise _BoundError(f"line {line}: an anchor contains itself: write out what is meant")
        if id(node) not in counts:
            unfinished.add(id(node))
            total = 1
            for child in _children(node):
                total += count(child)
                if total > VALUES:
                    raise _BoundError(
                        f"line {line}: anchors repeat what they name to more than {VALUES} values: "
                        "write out what is meant"
                    )
            unfinished.discard(id(node))
            counts[id(node)] = total
        return counts[id(node)]

    count(root)


def _children(node: yaml.Node) -> list[yaml.Node]:
    """Return the nodes in a list or mapping, whose keys must be different."""
    if not isinstance(node, yaml.MappingNode):
        return list(node.value)
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            line, known = key.start_mark.line + 1, lines.get((key.tag, key.value))
            if known is not None:
                raise _BoundError(
                    f"line {line}: key {quoted(key.value)} is already on line {known}: keep one"
                )
            lines[key.tag, key.value] = line
    return [part for pair in node.value for part in pair]
