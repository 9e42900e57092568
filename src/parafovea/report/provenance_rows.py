"""Provenance of a result as a table of two columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Longer lists are abbreviated to their ends.
LONGEST = 6


def provenance_rows(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Flatten a nested record to names and texts.

    Parameters
    ----------
    record : mapping
        Record of a stage, JSON-serializable.

    Returns
    -------
    tuple of (str, str)
        Names joined by dots: {"model": {"name": "cell"}} becomes ("model.name", "cell"). Long
        lists are abbreviated.
    """
    rows: list[tuple[str, str]] = []
    for key, value in record.items():
        if isinstance(value, Mapping):
            inner = provenance_rows(value)
            rows.extend((f"{key}.{name}", text) for name, text in inner)
            if not inner:
                rows.append((str(key), "none"))
        else:
            rows.append((str(key), _text(value)))
    return tuple(rows)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        if len(value) > LONGEST:
            ends = [_text(v) for v in (*value[:3], "…", value[-1])]
            return f"[{', '.join(ends)}] ({len(value)} values)"
        return f"[{', '.join(_text(v) for v in value)}]"
    return str(value)


def degraded_reasons(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the reasons why a result is degraded, if it is.

    Parameters
    ----------
    record : mapping
        Record of a stage. A `degraded` entry at any depth may be true, a text or a list of texts;
        for true, the text is the entry `degraded_reason` beside it.

    Returns
    -------
    tuple of str
        Distinct reasons in order.
    """
    reasons: list[str] = []
    entry = record.get("degraded")
    if entry:
        default = "a part of the model's input was missing"
        stated = record.get("degraded_reason") or (default if entry is True else entry)
        reasons.extend(map(str, stated) if isinstance(stated, list | tuple) else [str(stated)])
    for key, value in record.items():
        if isinstance(value, Mapping) and key != "degraded":
            reasons.extend(degraded_reasons(value))
    return tuple(dict.fromkeys(reasons))
