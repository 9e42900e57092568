"""Names of metrics, and the check of values against limits.

A metric has a path, such as ``("iou", "mitochondrion")``, which gives its nesting in
`quality.json`. Its name joins the path with dots, without `overall`: ``("iou", "overall")`` is
`iou`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from parafovea.errors import ConfigError
from parafovea.settings.quality import Limit

Value = float | int | None
Path = tuple[str, ...]

OVERALL = "overall"


@dataclass(frozen=True)
class Judged:
    """A metric of a result with its limit.

    Parameters
    ----------
    metric : str
        Name, such as `iou.mitochondrion`.
    value : float, int or None
        None if the metric is undefined.
    limit : Limit or None
        None if the config sets no limit.
    """

    metric: str
    value: Value
    limit: Limit | None

    @property
    def passed(self) -> bool | None:
        """Whether the limit is met; None without a limit or without a value."""
        if self.limit is None or self.value is None:
            return None
        return self.limit.holds(self.value)


#: Metrics of every volume, from its prediction's record.
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


def metric_name(path: Path) -> str:
    """Return the name of a metric for limits and tables."""
    return ".".join(part for part in path if part != OVERALL)


def metric_names(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return the names of metrics, in the order of their paths."""
    return tuple(map(metric_name, paths))


def check_limits(limits: Mapping[str, Limit], paths: Iterable[Path]) -> None:
    """Raise `ConfigError` for a limit on an unknown metric.

    Parameters
    ----------
    limits : mapping of str to Limit
        Limits by metric name.
    paths : iterable of tuple of str
        All metrics of the result.
    """
    known = metric_names(paths)
    unknown = [name for name in limits if name not in known]
    if unknown:
        raise ConfigError(
            f"quality.limits names {', '.join(map(repr, unknown))}, which are not metrics of this "
            f"result: use one of {', '.join(known)}"
        )


def nested(values: Mapping[Path, Value]) -> dict[str, Any]:
    """Return values by path as nested dictionaries."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        branch = tree
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = value
    return tree


def judge(values: Mapping[Path, Value], limits: Mapping[str, Limit]) -> tuple[Judged, ...]:
    """Return all metrics with their limits, in the order of `values`.

    Parameters
    ----------
    values : mapping of path to float, int or None
        All metrics of a result.
    limits : mapping of str to Limit
        Limits by metric name.
    """
    names = {metric_name(path): value for path, value in values.items()}
    return tuple(Judged(name, value, limits.get(name)) for name, value in names.items())
