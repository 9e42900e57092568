"""What made a result: the record that every array and table carries. No time, host or user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parafovea import __version__


def record(stage: str, **facts: Any) -> dict[str, Any]:
    """Return the provenance of one stage's output.

    Parameters
    ----------
    stage : str
        Name of the stage (rule, script and module).
    **facts
        Settings that mattered, hashes, and the records of what went in.
    """
    return {"stage": stage, "version": __version__, **facts}


def lineage(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of an input's record that its results carry on.

    Parameters
    ----------
    attributes : mapping
        The input's own record.
    """
    kept = ("source", "normalization", "features", "context", "model", "inference", "degraded")
    return {name: attributes[name] for name in kept if name in attributes}
