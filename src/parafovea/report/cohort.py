"""Tables and headline metrics of all samples, and the limits that they miss."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from parafovea.errors import StoreError
from parafovea.postprocess.detection.detection_files import CSV_COLUMNS, load_detections_table
from parafovea.report.charts import Point
from parafovea.report.sample_results import Metric
from parafovea.report.segmentation.sample_view import SampleView

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
    "false_positives",
    "detections",
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

#: Maximum number of samples side by side.
ABREAST = 6

#: Maximum number of panels in the cohort's figure.
MOST_PANELS = 12


@dataclass(frozen=True, slots=True)
class Failure:
    """A limit that a sample does not meet."""

    sample: str
    task: str
    metric: Metric


def failures(views: Iterable[SampleView]) -> tuple[Failure, ...]:
    """Return the missed limits, then those without a value, in the order of samples."""
    unmet = [
        Failure(view.sample, view.task, metric)
        for view in views
        for metric in view.metrics
        if metric.status in ("failed", "undefined")
    ]
    return tuple(sorted(unmet, key=lambda failure: failure.metric.status != "failed"))


def summary_line(views: Sequence[SampleView]) -> str:
    """Return the summary, such as "2 of 3 samples meet every limit"."""
    states = [view.verdict.status for view in views]
    free = states.count("unlimited")
    if free == len(views):
        return f"No limits are set for {_samples(free)}"
    met = states.count("passed")
    verb = "meets" if len(views) - free == 1 else "meet"
    line = f"{met} of {_samples(len(views) - free)} {verb} every limit"
    if unjudged := states.count("undefined"):
        line += f", {unjudged} with undefined values"
    return f"{line}; {_samples(free)} without limits" if free else line


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"


def other_metrics(
    views: Sequence[SampleView], shown: Sequence[str]
) -> tuple[tuple[tuple[SampleView, ...], tuple[str, ...]], ...]:
    """Return the metrics other than those shown, for tables with a column per sample.

    Parameters
    ----------
    views : sequence of SampleView
        All samples.
    shown : sequence of str
        Metrics to omit.

    Returns
    -------
    tuple of (views, names)
        Groups of at most `ABREAST` samples, and the metrics that any of them has.
    """
    groups = [tuple(views[i : i + ABREAST]) for i in range(0, len(views), ABREAST)]
    named = [(g, tuple(n for n in metric_names(g) if n not in shown)) for g in groups]
    return tuple((group, names) for group, names in named if names)


def metric_names(views: Iterable[SampleView]) -> tuple[str, ...]:
    """Return the distinct metrics of all samples in order of appearance."""
    return tuple(dict.fromkeys(metric.name for view in views for metric in view.metrics))


def headline_metrics(views: Sequence[SampleView]) -> tuple[str, ...]:
    """Return the metrics to draw: those with limits first, then common ones.

    Parameters
    ----------
    views : sequence of SampleView
        All samples; they may have different metrics.

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
    if not any(view.counted == "Tiles" for view in views):
        return tuple((chosen or valued)[:MOST_PANELS])
    # reserve panels for the headline metrics of tiles
    always = [name for name in TILE_HEADLINES if name in valued][:_ALWAYS]
    chosen += [name for name in TILE_HEADLINES if name in valued and name not in chosen]
    rest = [name for name in chosen or valued if name not in always]
    kept = {*always, *rest[: MOST_PANELS - len(always)]}
    return tuple(name for name in chosen or valued if name in kept)


def _has_value(metrics: Iterable[Metric], name: str) -> bool:
    return any(metric.name == name and metric.value is not None for metric in metrics)


def metric_points(views: Iterable[SampleView]) -> tuple[Point, ...]:
    """Return every metric of every sample, for a chart."""
    return tuple(Point(view.sample, view.task, metric) for view in views for metric in view.metrics)


def cohort_table(views: Sequence[SampleView]) -> pd.DataFrame:
    """Return one row for each sample and one column for each metric of any sample.

    Parameters
    ----------
    views : sequence of SampleView
        All samples.

    Returns
    -------
    DataFrame
        Columns sample, task, degraded, objects, limits, limits_met, then the metrics. Missing and
        undefined metrics are empty, as are the objects of scans with detections and of folders of
        tiles.
    """
    names = metric_names(views)
    rows = []
    counts_objects = [view.counted == "Objects" for view in views]
    for view in views:
        values = {metric.name: metric.value for metric in view.metrics}
        rows.append(
            {
                "sample": view.sample,
                "task": view.task,
                "degraded": bool(view.degraded),
                "objects": view.object_count if view.counted == "Objects" else None,
                "limits": view.verdict.limits,
                "limits_met": view.verdict.met,
                **{name: values.get(name) for name in names},
            }
        )
    table = pd.DataFrame(rows)
    # numbers of detections and of tiles are metrics
    return table if all(counts_objects) else table.astype({"objects": "Int64"})


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
