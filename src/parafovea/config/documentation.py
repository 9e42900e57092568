"""JSON schema and parameter table, generated from the config's pydantic model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from parafovea.config.schema import Settings
from parafovea.errors import ConfigError

BEGIN = "<!-- parameters: written by `parafovea config-docs` -->"
END = "<!-- end of parameters -->"

Node = Mapping[str, Any]

BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def schema_text() -> str:
    """Return the JSON schema of the config, as the text of `config/config.schema.json`."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= Settings.model_json_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def table_text() -> str:
    """Return the parameter table in Markdown, a row for each key of the config."""
    schema = Settings.model_json_schema()
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{key}` | {_kind(node, schema)} | {default} | {node.get('description', '')} |"
        for key, node, default in _rows(schema, schema, ())
    ]
    return "\n".join(lines) + "\n"


def with_table(text: str, table: str) -> str:
    """Return a page with the text between the two markers replaced by the table.

    Parameters
    ----------
    text : str
        The page in Markdown.
    table : str
        The table, from `table_text`.

    Returns
    -------
    str
        The page, otherwise unchanged.

    Raises
    ------
    ConfigError
        If a marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"config/README.md lacks the line {END if begin else BEGIN!r}: add it")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def _rows(node: Node, schema: Node, path: tuple[str, ...]) -> Iterator[tuple[str, Node, str]]:
    """Yield the dotted key, the schema and the default of every value below a node."""
    required = node.get("required", [])
    for name, raw in node["properties"].items():
        child = _resolved(raw, schema)
        here = (*path, name)
        inner = child.get("additionalProperties")
        if "properties" in child:
            if "default" in raw and raw["default"] is None:
                yield ".".join(here), {**raw, "title": "settings"}, "`null`"
            yield from _rows(child, schema, here)
        elif isinstance(inner, Mapping):
            below = _resolved(inner, schema)
            key = f"{'.'.join(here)}.NAME"
            if "properties" in below:
                yield key, {"description": child.get("description", ""), "title": "settings"}, ""
                yield from _rows(below, schema, (*here, "NAME"))
            else:
                yield key, {**below, "description": child.get("description", "")}, ""
        else:
            missing = "*required*" if name in required else ""
            default = f"`{json.dumps(raw['default'])}`" if "default" in raw else missing
            yield ".".join(here), child, default


def _resolved(node: Node, schema: Node) -> Node:
    """Return a node with its reference resolved and a null alternative removed."""
    options = [each for each in node.get("anyOf", []) if each.get("type") != "null"]
    chosen = options[0] if len(options) == 1 else node
    if "$ref" in chosen:
        chosen = schema["$defs"][chosen["$ref"].rpartition("/")[2]]
    return {**chosen, **{k: v for k, v in node.items() if k in ("description", "default")}}


def _kind(node: Node, schema: Node) -> str:
    """Return a short description of the allowed values."""
    if node.get("title") == "settings":
        return "settings"
    if "anyOf" in node:
        kinds = [_kind(_resolved(each, schema), schema) for each in node["anyOf"]]
        return " or ".join(kinds)
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if "prefixItems" in node:
        item = _resolved(node["prefixItems"][0], schema)
        return f"{len(node['prefixItems'])} × {_kind(item, schema)}"
    if node.get("type") == "array":
        return f"list of {_kind(_resolved(node['items'], schema), schema)}"
    words = {"integer": "whole number", "string": "text", "boolean": "`true`, `false`"}
    plain = str(node.get("type", "anything"))
    name = words.get(plain, plain)
    bounds = [f"{sign} {node[key]:g}" for key, sign in BOUNDS.items() if key in node]
    return " ".join([name, *([", ".join(bounds)] if bounds else [])])
