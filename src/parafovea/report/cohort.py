"""Index of all samples: a row each with its headline metrics; tables and figures of a cohort."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from markupsafe import Markup

from parafovea.errors import StoreError
from parafovea.postprocess.detection.detection_files import CSV_COLUMNS, load_detections_table
from parafovea.quality.descriptions.registry import describe
from parafovea.report.charts import PanelGroup, Point
from parafovea.report.sample_results import Metric, Status
from parafovea.report.segmentation.sample_view import SampleView
from parafovea.report.units import counted

#: Headline metrics in the absence of limits; braces stand for each class.
HEADLINES = (
    "iou",
    "iou.{}",
    "panoptic.{}.pq",
    "voi.split",
    "voi.merge",
    "arand.error",
    "arand.recall",
    "arand.precision",
    "seam_energy",
    "entropy",
)

#: Headline metrics of scans with detections.
DETECTION_HEADLINES = (
    "sensitivity",
    "sensitivity.at_1_false_positive",
    "precision",
    "false_positives",
    "centre_distance_mm",
    "AP",
    "overlap",
)

#: Headline metrics of folders of tiles; the first ones always have a panel.
TILE_HEADLINES = (
    "preservation.ndvi_rmse",
    "preservation.edge_correlation",
    "gain.psnr",
    "accuracy.ndvi_rmse",
    "accuracy.psnr",
)
_ALWAYS = 3

#: Beginnings of the names of metrics of the computation, not of the result.
_TECHNICAL = ("coverage.", "memory.", "tiles.")

#: Maximum number of panels, and of columns with metrics, of a kind.
MOST_PANELS = 6

#: Maximum number of samples named in a sentence.
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A sample in the index.

    Parameters
    ----------
    sample, task, kind : str
        Names; untrusted, like all texts here.
    view : SampleView or None
        Its content; None if it failed.
    failure : str
        Reason why it has no result; "" if it has.
    page : str
        Address of its page, relative to the index; "" if it has none.
    links : mapping of str to str
        Addresses of further documents by name.
    thumbnail : str
        Address of its small picture, or the picture itself; "" if it has none.
    content : Markup or None
        Its page, if the index holds it; `page` then leads to it.
    """

    sample: str
    task: str
    kind: str
    view: SampleView | None
    failure: str = ""
    page: str = ""
    links: Mapping[str, str] | None = None
    thumbnail: str = ""
    content: Markup | None = None

    @property
    def state(self) -> Status | Literal["stopped"]:
        """The worst status of its limits, or "stopped" if it failed."""
        return "stopped" if self.view is None else self.view.verdict.status

    @property
    def missed(self) -> tuple[Metric, ...]:
        """Its metrics that miss a limit, or have a limit and no value."""
        metrics = () if self.view is None else self.view.metrics
        return tuple(metric for metric in metrics if metric.status in ("failed", "undefined"))


@dataclass(frozen=True, slots=True)
class IndexGroup:
    """The samples of a kind.

    Parameters
    ----------
    kind : str
        Name of the kind.
    rows : tuple of IndexRow
        In the sheet's order.
    metrics : tuple of str
        Metrics with a column.
    """

    kind: str
    rows: tuple[IndexRow, ...]
    metrics: tuple[str, ...]

    @property
    def worst_first(self) -> tuple[IndexRow, ...]:
        """The rows as the index lists them.

        Samples that failed come first, then those that miss limits of the config, most of them
        first, those with limits that are not judged, degraded results, and the others. Equal ones
        are in the order of the first metric in which they differ and that can be better or worse,
        samples without a value last.
        """
        names = [name for name in self.metrics if describe(name).better]

        def ascending(view: SampleView, name: str) -> float:
            metric = view.metric(name)
            if metric is None or metric.value is None:
                return math.inf
            return metric.value if describe(name).better == "higher" else -metric.value

        def rank(row: IndexRow) -> tuple[Any, ...]:
            view = row.view
            if view is None:
                return (0,)
            state = {"failed": 1, "undefined": 2}.get(view.verdict.status, 3)
            share = view.verdict.met / view.verdict.limits if view.verdict.limits else 1.0
            return (state, share, not view.degraded, *(ascending(view, name) for name in names))

        return tuple(sorted(self.rows, key=rank))

    @property
    def views(self) -> tuple[SampleView, ...]:
        """Content of the samples that did not fail."""
        return tuple(row.view for row in self.rows if row.view is not None)

    @property
    def counts(self) -> str:
        """Name of what is counted in each sample, such as "objects or tiles"."""
        return " or ".join(dict.fromkeys(view.counted for view in self.views)).lower()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Distinct tasks of the samples."""
        return tuple(dict.fromkeys(row.task for row in self.rows))

    @property
    def title(self) -> str:
        """Heading, such as "Segmentation · 3 samples"."""
        words = counted(len(self.rows), "sample")
        return f"{self.kind.capitalize()} · {words}" if self.kind else words

    @property
    def panels(self) -> PanelGroup:
        """Its panels of the figure."""
        points = tuple(
            Point(view.sample, view.task, metric) for view in self.views for metric in view.metrics
        )
        return PanelGroup(self.title, points, self.metrics)


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit of a task, with the numbers of its samples that meet it, miss it or are not judged.

    Parameters
    ----------
    task : str
        Name of the task.
    metric : Metric
        That of the first sample.
    met, missed, undefined : int
        Numbers of samples.
    """

    task: str
    metric: Metric
    met: int
    missed: int
    undefined: int


def index_groups(rows: Sequence[IndexRow], headline: Sequence[str] = ()) -> tuple[IndexGroup, ...]:
    """Return the samples by kind.

    Parameters
    ----------
    rows : sequence of IndexRow
        All samples.
    headline : sequence of str
        Metrics with a column; by default those of `headline_metrics`.
    """
    groups = []
    for kind in dict.fromkeys(row.kind for row in rows):
        own = tuple(row for row in rows if row.kind == kind)
        views = [row.view for row in own if row.view is not None]
        known = metric_names(views)
        chosen = tuple(name for name in headline if name in known)
        groups.append(IndexGroup(kind, own, chosen if headline else headline_metrics(views)))
    return tuple(groups)


def limit_lines(rows: Iterable[IndexRow]) -> tuple[LimitLine, ...]:
    """Return the limits of all tasks, those that are missed most often first."""
    found: dict[tuple[str, str, float | None, float | None], list[Metric]] = {}
    for row in rows:
        for metric in () if row.view is None else row.view.metrics:
            if metric.limited:
                key = (row.task, metric.name, metric.minimum, metric.maximum)
                found.setdefault(key, []).append(metric)
    lines = []
    for (task, *_), metrics in found.items():
        states = [metric.status for metric in metrics]
        counts = (states.count(each) for each in ("passed", "failed", "undefined"))
        lines.append(LimitLine(task, metrics[0], *counts))
    return tuple(sorted(lines, key=lambda line: (-line.missed, -line.undefined)))


def summary_line(rows: Sequence[IndexRow]) -> str:
    """Return the summary, such as "2 of 3 samples meet every limit"."""
    states = [row.state for row in rows]
    stopped = states.count("stopped")
    words = []
    if judged := [state for state in states if state not in ("unlimited", "stopped")]:
        verb = "meets" if len(judged) == 1 else "meet"
        met = judged.count("passed")
        words.append(f"{met} of {counted(len(judged), 'sample')} {verb} every limit of the config")
        if unjudged := judged.count("undefined"):
            words.append(f"{unjudged} with undefined values")
    if free := states.count("unlimited"):
        words.append(
            f"{counted(free, 'sample')} without limits"
            if judged
            else f"No limits are set for {counted(free, 'sample')}"
        )
    if stopped:
        words.append(f"{counted(stopped, 'sample')} failed")
    return "; ".join(words)


def named(samples: Sequence[str]) -> str:
    """Return the first names of many, and the number of the others."""
    more = len(samples) - _MOST_NAMED
    return ", ".join(samples[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def metric_names(views: Iterable[SampleView]) -> tuple[str, ...]:
    """Return the distinct metrics of all samples in order of appearance."""
    return tuple(dict.fromkeys(metric.name for view in views for metric in view.metrics))


def headline_metrics(views: Sequence[SampleView]) -> tuple[str, ...]:
    """Return the metrics to draw: those with limits first, then common ones.

    Parameters
    ----------
    views : sequence of SampleView
        Samples; they may have different metrics.

    Returns
    -------
    tuple of str
        At most `MOST_PANELS` names that have a value in at least one sample.
    """
    metrics = [metric for view in views for metric in view.metrics]
    valued = [name for name in metric_names(views) if _has_value(metrics, name)]
    limited = {metric.name for metric in metrics if metric.limited}
    chosen = [name for name in valued if name in limited]
    classes = dict.fromkeys(row.name for view in views for row in view.classes)
    for pattern in HEADLINES:
        wanted = [pattern.replace("{}", name) for name in classes] if "{}" in pattern else [pattern]
        chosen.extend(name for name in wanted if name in valued and name not in chosen)
    if any(view.counted == "Detections" for view in views):
        chosen += [name for name in DETECTION_HEADLINES if name in valued and name not in chosen]
    always: list[str] = []
    if any(view.counted == "Tiles" for view in views):
        # reserve panels for the headline metrics of tiles
        always = [name for name in TILE_HEADLINES if name in valued][:_ALWAYS]
        chosen += [name for name in TILE_HEADLINES if name in valued and name not in chosen]
    rest = [name for name in chosen or valued if name not in always]
    kept = {*always, *rest[: MOST_PANELS - len(always)]}
    # what tells little if all is well comes last
    return tuple(
        sorted(
            (name for name in chosen or valued if name in kept),
            key=lambda name: name.startswith(_TECHNICAL),
        )
    )


def _has_value(metrics: Iterable[Metric], name: str) -> bool:
    return any(metric.name == name and metric.value is not None for metric in metrics)


def cohort_table(rows: Sequence[IndexRow]) -> pd.DataFrame:
    """Return one row for each sample and one column for each metric of any sample.

    Parameters
    ----------
    rows : sequence of IndexRow
        All samples.

    Returns
    -------
    DataFrame
        Columns sample, task, degraded, objects, limits, limits_met, failure, then the metrics.
        Missing and undefined metrics are empty, as are the objects of scans with detections and of
        folders of tiles, and all but the failure of a sample without a result.
    """
    names = metric_names(row.view for row in rows if row.view is not None)
    lines = []
    for row in rows:
        view = row.view
        line: dict[str, Any] = {"sample": row.sample, "task": row.task, "failure": row.failure}
        if view is not None:
            line |= {
                "degraded": bool(view.degraded),
                "objects": view.object_count if view.counted == "Objects" else None,
                "limits": view.verdict.limits,
                "limits_met": view.verdict.met,
                **{metric.name: metric.value for metric in view.metrics},
            }
        lines.append(line)
    columns = ["sample", "task", "degraded", "objects", "limits", "limits_met", "failure", *names]
    table = pd.DataFrame(lines, columns=columns)
    # numbers of detections and of tiles are metrics
    whole = dict.fromkeys(("objects", "limits", "limits_met"), "Int64")
    return table.astype({**whole, "degraded": "boolean"})


def join_detections(tables: Sequence[Path], output: Path) -> None:
    """Concatenate the lines of many detections.csv, which have a column for the scan.

    Parameters
    ----------
    tables : sequence of Path
        Files of `detect_nodules`.
    output : Path
        CSV to write, with the same columns.

    Raises
    ------
    StoreError
        If a file is missing or has other columns.
    """
    with output.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for path in tables:
            # raises an error for other tables
            load_detections_table(path)
            with path.open(encoding="utf-8", newline="") as source:
                rows = csv.reader(source)
                next(rows)
                writer.writerows(rows)


def join_tables(tables: Mapping[tuple[str, str], Path], output: Path) -> None:
    """Concatenate the lines of many tables, with additional first columns sample and task.

    Lines are copied unchanged, one by one: tables may exceed the memory, and numbers keep all their
    digits.

    Parameters
    ----------
    tables : mapping of (str, str) to Path
        Tab-separated tables by sample and task; their columns may differ.
    output : Path
        Table to write; cells of missing columns are empty.

    Raises
    ------
    StoreError
        If a table is missing or has no header.
    """
    columns: dict[str, None] = {}
    for path in tables.values():
        columns.update(dict.fromkeys(_header(path)))
    names = ["sample", "task", *columns]
    with output.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.DictWriter(sink, names, delimiter="\t", lineterminator="\n", restval="")
        writer.writeheader()
        for (sample, task), path in tables.items():
            with path.open(encoding="utf-8", newline="") as source:
                for row in csv.DictReader(source, delimiter="\t"):
                    writer.writerow({"sample": sample, "task": task, **row})


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", newline="") as source:
            header = next(csv.reader(source, delimiter="\t"), [])
    except OSError as error:
        raise StoreError(f"{path} is missing: run post-processing of its sample again") from error
    if not header:
        raise StoreError(f"{path} is empty, without a header: delete it and run again")
    return header
