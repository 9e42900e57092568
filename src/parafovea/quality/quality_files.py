"""Quality files of a sample, and the metrics taken from its prediction's record."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.errors import StoreError
from parafovea.quality import metrics
from parafovea.quality.metrics import Judged, Value


def coverage_metrics(record: Mapping[str, Any], path: Path) -> dict[metrics.Path, Value]:
    """Return the coverage metrics of a sample's windows.

    Parameters
    ----------
    record : mapping
        Attributes of the prediction.
    path : Path
        Path of the prediction, for the message.

    Raises
    ------
    StoreError
        If there is no such record.
    """
    try:
        blending = record["blending"]
        return {
            ("coverage", "minimum_weight"): float(blending["minimum_weight"]),
            ("coverage", "uncovered_voxels"): int(blending["uncovered_voxels"]),
            ("coverage", "padded_context"): blending.get("padded_context"),
        }
    except KeyError as error:
        raise StoreError(
            f"{path} has no complete record of its blending ({error} is missing): "
            "run blend_shards again"
        ) from error


def skipped_share(record: Mapping[str, Any]) -> float | None:
    """Return the share of windows skipped as empty; None if not recorded.

    Parameters
    ----------
    record : mapping
        Attributes of the prediction; counts are in `skipped_windows` of its `blending`.
    """
    blending = record.get("blending", {})
    skipped = blending.get("skipped_windows")
    windows = math.prod(len(starts) for starts in blending.get("starts", ()))
    return None if skipped is None or not windows else int(skipped) / windows


def memory_metrics(record: Mapping[str, Any]) -> dict[metrics.Path, Value]:
    """Return the metrics of memory fallbacks, empty if not recorded."""
    execution = record.get("execution")
    if execution is None:
        return {}
    return {
        ("memory", "fallbacks"): len(execution["fallbacks"]),
        ("memory", "smallest_batch"): int(execution["smallest_batch"]),
        ("memory", "cpu_shards"): int(execution["cpu_shards"]),
    }


def quality_json(
    values: Mapping[metrics.Path, Value],
    judged: Sequence[Judged],
    provenance: Mapping[str, Any],
    **more: Any,
) -> str:
    """Return the text of quality.json.

    Parameters
    ----------
    values : mapping of path to float, int or None
        All metrics.
    judged : sequence of Judged
        All metrics with their limits.
    provenance : mapping
        Provenance of the metrics.
    **more
        Further entries, before the provenance.
    """
    verdicts = [one.passed for one in judged if one.passed is not None]
    record = {
        "metrics": metrics.nested(values),
        "limits": {
            one.metric: {
                "minimum": one.limit.min,
                "maximum": one.limit.max,
                "value": one.value,
                "passed": one.passed,
            }
            for one in judged
            if one.limit is not None
        },
        "passed": all(verdicts) if verdicts else None,
        **more,
        "provenance": dict(provenance),
    }
    return json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def quality_table(judged: Sequence[Judged]) -> str:
    """Return the text of quality.tsv: metric, value, minimum, maximum, passed."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(("metric", "value", "minimum", "maximum", "passed"))
    for one in judged:
        low, high = (one.limit.min, one.limit.max) if one.limit else (None, None)
        table.writerow((one.metric, *map(_cell, (one.value, low, high)), _cell(one.passed)))
    return text.getvalue()


def _cell(value: float | int | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else f"{value:.9g}"
