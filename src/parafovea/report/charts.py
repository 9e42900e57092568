"""Charts of object sizes and of metrics over samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from parafovea.report.canvas import INK, MUTED, PAGE_WIDTH, RULE, Drawing, new_figure, save, short
from parafovea.report.palette import FAILED, PASSED, UNLIMITED, class_colours
from parafovea.report.sample_results import Metric
from parafovea.report.units import SYMBOLS, number_text, power_text, volume_text

#: Colour, marker and label of each status.
MARKS = {
    "passed": (PASSED, "o", "limit met"),
    "failed": (FAILED, "X", "limit missed"),
    "unlimited": (UNLIMITED, "D", "no limit"),
}

#: Above this number of samples, a row of a chart is a task.
MOST_ROWS = 12


def draw_sizes(objects: pd.DataFrame, classes: Sequence[str], unit: str, path: Path) -> Drawing:
    """Draw a histogram of the objects' volumes for each class that has objects.

    Parameters
    ----------
    objects : DataFrame
        With the columns class and volume (cubic `unit`).
    classes : sequence of str
        Class names; give the classes their colours.
    unit : str
        Unit of length.
    path : Path
        PNG file to write, with a note if there are no objects.

    Returns
    -------
    Drawing
        File, title and caption.
    """
    colours = dict(zip(classes, class_colours(len(classes)), strict=True))
    present = [name for name in classes if (objects["class"] == name).any()]
    if not present:
        return _no_objects(path)
    volumes = np.asarray(objects["volume"], float)
    low, high = np.log10(volumes.min()), np.log10(volumes.max())
    margin = max(0.05 * (high - low), 0.15)
    bins = np.logspace(low - margin, high + margin, 26)
    figure = new_figure(PAGE_WIDTH, 0.7 + 1.5 * len(present), layout="constrained")
    grid = figure.subplots(len(present), 1, sharex=True, squeeze=False)
    for axes, name in zip(grid[:, 0], present, strict=True):
        own = volumes[np.asarray(objects["class"] == name)]
        axes.hist(own, bins=bins.tolist(), color=colours[name], edgecolor="white", linewidth=0.6)
        median = float(np.median(own))
        axes.axvline(median, color=INK, linestyle="--", linewidth=1)
        count = "1 object" if len(own) == 1 else f"{len(own):,} objects"
        title = f"{short(name)} · {count} · median {volume_text(median, unit)}"
        axes.set_title(title, loc="left", weight="bold")
        axes.set_xscale("log")
        # matplotlib writes powers as math text, which the style disables.
        axes.xaxis.set_major_locator(LogLocator(numticks=9))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: power_text(round(math.log10(v)))))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda _v, _: ""))
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        axes.set_ylabel("objects")
    grid[-1, 0].set_xlabel(f"volume ({SYMBOLS[unit]}³)")
    caption = (
        "Volumes of the objects of each class, on a logarithmic axis with the same bins for all "
        "classes. The dashed line is the median."
    )
    return save(figure, Drawing(path, "Object sizes", caption))


def _no_objects(path: Path) -> Drawing:
    figure = new_figure(PAGE_WIDTH, 1.0)
    figure.text(0.5, 0.5, "no objects were found", ha="center", va="center", color=MUTED, size=11)
    return save(figure, Drawing(path, "Object sizes", "No objects were found in this sample."))


@dataclass(frozen=True, slots=True)
class Point:
    """A metric of one sample."""

    sample: str
    task: str
    metric: Metric


def draw_metrics(points: Sequence[Point], names: Sequence[str], path: Path) -> Drawing:
    """Draw a panel for each metric, with a dot for each sample and its limits.

    Parameters
    ----------
    points : sequence of Point
        Metrics of all samples; undefined ones are omitted.
    names : sequence of str
        Metrics to draw, in order.
    path : Path
        PNG file to write, with a note if there is nothing to draw.

    Returns
    -------
    Drawing
        File, title and caption.
    """
    panels = {
        name: own
        for name in names
        if (own := [p for p in points if p.metric.name == name and p.metric.value is not None])
    }
    if not panels:
        figure = new_figure(PAGE_WIDTH, 1.0)
        figure.text(0.5, 0.5, "no metric to show", ha="center", va="center", color=MUTED, size=11)
        return save(figure, Drawing(path, "Metrics", "No sample has a defined metric."))
    drawn = [p for own in panels.values() for p in own]
    by_sample = len({p.sample for p in drawn}) <= MOST_ROWS
    rows = list(dict.fromkeys(_row(p, by_sample=by_sample) for p in drawn))
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    height = 0.62 + 0.24 * max(2, len(rows)) if by_sample else 0.62 + 0.5 * len(rows)
    figure = new_figure(PAGE_WIDTH, 0.35 + lines * height, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, own) in zip(grid.flat, panels.items(), strict=False):
        _strip(axes, own, rows, by_sample=by_sample)
        axes.set_title(short(name, 40), loc="left", weight="bold")
    statuses = [s for s in MARKS if any(p.metric.status == s for p in drawn)]
    figure.legend(handles=_keys(statuses), loc="outside upper left", ncols=4, handletextpad=0.4)
    caption = (
        f"Each dot is a sample{'' if by_sample else ', in the row of its task'}. A dark tick is "
        "the limit of its row; the shaded side misses it. Undefined values are omitted."
    )
    return save(figure, Drawing(path, "Metrics over samples", caption))


def _row(point: Point, *, by_sample: bool) -> str:
    return point.sample if by_sample else point.task


def _keys(statuses: Sequence[str]) -> list[Line2D]:
    keys = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=label)
        for colour, marker, label in (MARKS[s] for s in statuses)
    ]
    if set(statuses) - {"unlimited"}:
        keys.append(
            Line2D([], [], color=INK, marker="|", markersize=9, linestyle="", label="limit")
        )
    return keys


def _strip(axes: Axes, points: Sequence[Point], rows: Sequence[str], *, by_sample: bool) -> None:
    values = [p.metric.value for p in points if p.metric.value is not None]
    limits = [b for p in points for b in (p.metric.minimum, p.metric.maximum) if b is not None]
    low, high = min([*values, *limits]), max([*values, *limits])
    margin = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
    low, high = low - margin, high + margin
    seen: dict[str, int] = {}
    for point in points:
        name = _row(point, by_sample=by_sample)
        place, turn = rows.index(name), seen.get(name, 0)
        seen[name] = turn + 1
        if turn == 0:
            _limits(axes, point.metric, place, (low, high))
        # The golden ratio spreads any number of dots evenly and reproducibly.
        offset = 0.0 if by_sample else (turn * 0.618034 % 1 - 0.5) * 0.6
        colour, marker, _ = MARKS[point.metric.status]
        axes.plot(
            [point.metric.value or 0.0],
            [place + offset],
            color=colour,
            marker=marker,
            markersize=7.5,
            markeredgecolor="white",
            markeredgewidth=0.7,
            linestyle="",
        )
        if by_sample and point.metric.value is not None:
            axes.text(
                1.02,
                place,
                number_text(point.metric.value),
                transform=axes.get_yaxis_transform(),
                va="center",
                size=8,
                color=colour if point.metric.status == "failed" else MUTED,
            )
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [short(name, 22) for name in rows])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.locator_params(axis="x", nbins=5)
    axes.hlines(range(len(rows)), low, high, color=RULE, linewidth=0.6, zorder=0)


def _limits(axes: Axes, metric: Metric, place: int, span: tuple[float, float]) -> None:
    bottom, top = place - 0.4, place + 0.4
    for limit, end in ((metric.minimum, span[0]), (metric.maximum, span[1])):
        if limit is not None:
            axes.fill_betweenx([bottom, top], limit, end, color=FAILED, alpha=0.1, linewidth=0)
            axes.vlines(limit, bottom, top, color=INK, linewidth=1.6, zorder=1)
