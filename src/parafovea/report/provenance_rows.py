"""What made a result, as two columns of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Longer lists are shown by their ends.
LONGEST = 6


def provenance_rows(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Flatten a nested record to names and texts.

    Parameters
    ----------
    record : mapping
        Whatever a stage wrote, JSON-ready.

    Returns
    -------
    tuple of (str, str)
        Names are joined by dots: {"model": {"name": "cell"}} becomes ("model.name", "cell"). Long
        lists are shortened.
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
    """Return why a result is degraded: nothing where it is not.

    Parameters
    ----------
    record : mapping
        A stage's record. A `degraded` entry at any depth counts where it is true, a text, or a
        list of texts; the entry `degraded_reason` beside it is its text.

    Returns
    -------
    tuple of str
        Each reason once, in order.
    """
    reasons: list[str] = []
    entry = record.get("degraded")
    if entry:
        default = "a part of the model's input was missing, so that it saw less than in training"
        stated = record.get("degraded_reason") or (default if entry is True else entry)
        reasons.extend(map(str, stated) if isinstance(stated, list | tuple) else [str(stated)])
    for key, value in record.items():
        if isinstance(value, Mapping) and key != "degraded":
            reasons.extend(degraded_reasons(value))
    return tuple(dict.fromkeys(reasons))
