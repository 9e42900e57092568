"""Names of the metrics, and the check of values against limits.

A metric has a path, such as ``("iou", "mitochondrion")``, by which `quality.json` nests it. Its
name joins the path by dots. `overall` adds nothing to a name: ``("iou", "overall")`` is `iou`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parafovea.errors import ConfigError
from parafovea.geometry.grid import AXES
from parafovea.settings.quality import Limit

Value = float | int | None
Path = tuple[str, ...]

OVERALL = "overall"
#: Metrics of a class, from the confusion matrix.
OVERLAP = ("iou", "dice", "precision", "recall")
#: Metrics of a class's objects.
PANOPTIC = ("tp", "fp", "fn", "rq", "sq", "pq")


@dataclass(frozen=True)
class Judged:
    """One metric of a result, with its limit.

    Parameters
    ----------
    metric : str
        Name, such as `iou.mitochondrion`.
    value : float, int or None
        None where the metric is not defined for this result.
    limit : Limit or None
        None where the config sets no limit.
    """

    metric: str
    value: Value
    limit: Limit | None

    @property
    def passed(self) -> bool | None:
        """Whether the limit holds; None without a limit or without a value to judge."""
        if self.limit is None or self.value is None:
            return None
        return self.limit.holds(self.value)


#: Metrics that every result has.
COVERAGE: tuple[Path, ...] = (
    ("coverage", "minimum_weight"),
    ("coverage", "uncovered_voxels"),
    ("coverage", "padded_context"),
)
MEMORY: tuple[Path, ...] = (
    ("memory", "fallbacks"),
    ("memory", "smallest_batch"),
    ("memory", "cpu_shards"),
)
#: Metrics of the detections of a scan; lengths in millimetres.
DETECTION: tuple[Path, ...] = (
    *(("detections", part) for part in (OVERALL, "high", "intermediate", "low")),
    *COVERAGE,
    ("coverage", "skipped_windows"),
    *MEMORY,
    ("nodules",),
    ("found",),
    ("missed",),
    ("false_positives",),
    ("sensitivity", OVERALL),
    ("sensitivity", "at_1_false_positive"),
    ("precision",),
    ("centre_distance_mm",),
    ("diameter_error_mm", OVERALL),
    ("diameter_error_mm", "signed"),
)


def metric_paths(
    classes: Sequence[str], instances: Sequence[str], *, kind: str = "segmentation"
) -> tuple[Path, ...]:
    """Return the paths of all metrics that a result has, in the order of the tables.

    Parameters
    ----------
    classes : sequence of str
        All class names, the background first.
    instances : sequence of str
        Names of the classes whose objects are numbered.
    kind : str
        Of the task. Those of a detection do not depend on its classes.
    """
    if kind == "detection":
        return DETECTION
    return (
        *COVERAGE,
        *MEMORY,
        *(("seam_energy", part) for part in (OVERALL, *AXES)),
        ("entropy",),
        *((metric, part) for metric in OVERLAP for part in (OVERALL, *classes)),
        ("voi", "split"),
        ("voi", "merge"),
        ("arand", "error"),
        ("arand", "precision"),
        ("arand", "recall"),
        *(("panoptic", name, metric) for name in instances for metric in PANOPTIC),
    )


def metric_name(path: Path) -> str:
    """Return the name of a metric, as limits and tables use it."""
    return ".".join(part for part in path if part != OVERALL)


def metric_names(
    classes: Sequence[str], instances: Sequence[str], *, kind: str = "segmentation"
) -> tuple[str, ...]:
    """Return the names of all metrics that a result has: see `metric_paths`."""
    return tuple(metric_name(path) for path in metric_paths(classes, instances, kind=kind))


def check_limits(
    limits: Mapping[str, Limit],
    classes: Sequence[str],
    instances: Sequence[str],
    *,
    kind: str = "segmentation",
) -> None:
    """Raise `ConfigError` for a limit on a metric that no result of these classes has.

    Parameters
    ----------
    limits : mapping of str to Limit
        Limits by metric name.
    classes, instances, kind
        As for `metric_paths`.
    """
    known = metric_names(classes, instances, kind=kind)
    unknown = [name for name in limits if name not in known]
    if unknown:
        raise ConfigError(
            f"quality.limits names {', '.join(map(repr, unknown))}, which no result has: "
            f"use one of {', '.join(known)}"
        )


def nested(values: Mapping[Path, Value]) -> dict[str, Any]:
    """Return values by path as dictionaries in dictionaries."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        branch = tree
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = value
    return tree


def judge(values: Mapping[Path, Value], limits: Mapping[str, Limit]) -> tuple[Judged, ...]:
    """Return every metric with its limit, in the order of `values`.

    Parameters
    ----------
    values : mapping of path to float, int or None
        All metrics of a result.
    limits : mapping of str to Limit
        Limits by metric name.
    """
    names = {metric_name(path): value for path, value in values.items()}
    return tuple(Judged(name, value, limits.get(name)) for name, value in names.items())
