"""Charts of object sizes and of metrics over samples."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from parafovea.quality.descriptions.description import Description
from parafovea.quality.descriptions.registry import describe
from parafovea.report.canvas import PAGE_WIDTH, SMALL, Drawing, new_figure, save, short
from parafovea.report.palette import FAILED, INK, MUTED, PAPER_WHITE, PASSED, RULE, UNLIMITED
from parafovea.report.sample_results import Metric, Status
from parafovea.report.units import (
    SYMBOLS,
    counted,
    metric_text,
    number_text,
    power_text,
    volume_text,
)
from parafovea.storage.class_colours import class_colours

#: Colour, marker and label of each status.
MARKS = {
    "passed": (PASSED, "o", "limit met"),
    "failed": (FAILED, "X", "limit missed"),
    "unlimited": (UNLIMITED, "D", "no limit"),
}

#: Above this number of samples, a row of a chart is a task.
MOST_ROWS = 12

#: Panels side by side.
_ACROSS = 3

#: Above this number of dots, a figure on a page holds them as an image.
_MOST_DOTS = 300

#: Characters in a line of a panel's title.
_TITLE = 30


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
    figure = new_figure(PAGE_WIDTH, 0.7 + 1.3 * len(present), layout="constrained")
    grid = figure.subplots(len(present), 1, sharex=True, squeeze=False)
    for axes, name in zip(grid[:, 0], present, strict=True):
        own = volumes[np.asarray(objects["class"] == name)]
        axes.hist(
            own, bins=bins.tolist(), color=colours[name], edgecolor=PAPER_WHITE, linewidth=0.6
        )
        median = float(np.median(own))
        axes.axvline(median, color=INK, linestyle="--", linewidth=1)
        title = (
            f"{short(name)} · {counted(len(own), 'object')} · median {volume_text(median, unit)}"
        )
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


@dataclass(frozen=True)
class PanelGroup:
    """The panels of comparable samples.

    Parameters
    ----------
    title : str
        Heading, such as "Segmentation · 3 samples".
    points : tuple of Point
        Metrics of the samples; undefined ones are omitted.
    names : tuple of str
        Metrics to draw, in order.
    """

    title: str
    points: tuple[Point, ...]
    names: tuple[str, ...]

    @cached_property
    def panels(self) -> dict[str, list[Point]]:
        """Points with a value by metric; only metrics that have one."""
        named: dict[str, list[Point]] = {name: [] for name in self.names}
        for point in self.points:
            if point.metric.name in named and point.metric.value is not None:
                named[point.metric.name].append(point)
        return {name: own for name, own in named.items() if own}

    @cached_property
    def by_sample(self) -> bool:
        """Whether a row is a sample, and not a task."""
        return len({p.sample for own in self.panels.values() for p in own}) <= MOST_ROWS

    @cached_property
    def rows(self) -> list[str]:
        """Names of the rows."""
        drawn = [p for p in self.points if p.metric.name in self.panels]
        return list(dict.fromkeys(self.row(p) for p in drawn if p.metric.value is not None))

    def row(self, point: Point) -> str:
        """Return the row of a point."""
        return point.sample if self.by_sample else point.task

    @property
    def height(self) -> float:
        """Height in inches."""
        lines = -(-len(self.panels) // _ACROSS)
        rows = len(self.rows)
        return 0.35 + lines * (0.85 + (0.2 * max(2, rows) if self.by_sample else 0.5 * rows))


def draw_metrics(groups: Sequence[PanelGroup], path: Path) -> Drawing:
    """Draw a panel for each metric of each group, with a dot for each sample and its limits.

    Parameters
    ----------
    groups : sequence of PanelGroup
        Groups from top to bottom.
    path : Path
        PNG file to write, with a note if there is nothing to draw.

    Returns
    -------
    Drawing
        File, title and caption.
    """
    shown = [group for group in groups if group.panels]
    if not shown:
        figure = new_figure(PAGE_WIDTH, 1.0)
        figure.text(0.5, 0.5, "no metric to show", ha="center", va="center", color=MUTED, size=11)
        return save(figure, Drawing(path, "Metrics", "No sample has a defined metric."))
    drawn = [p for group in shown for own in group.panels.values() for p in own]
    heights = [group.height for group in shown]
    figure = new_figure(PAGE_WIDTH, 0.3 + sum(heights), layout="constrained")
    parts = figure.subfigures(len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, group in zip(parts, shown, strict=True):
        part.set_facecolor("none")
        part.suptitle(group.title, x=0.01, ha="left", weight="bold", size=10)
        _panels(part, group, as_image=len(drawn) > _MOST_DOTS)
    statuses = [s for s in MARKS if any(p.metric.status == s for p in drawn)]
    figure.legend(handles=_keys(statuses), loc="outside upper left", ncols=4, handletextpad=0.4)
    where = "" if all(group.by_sample for group in shown) else ", in the row of its task"
    caption = (
        f"Each dot is a sample{where}. A tick is the limit of its row, as set in the config; "
        "the shaded side misses it. Undefined values are omitted."
    )
    return save(figure, Drawing(path, "Metrics over samples", caption))


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


def _panels(part: SubFigure, group: PanelGroup, *, as_image: bool) -> None:
    panels = group.panels
    lines = -(-len(panels) // _ACROSS)
    grid = part.subplots(lines, _ACROSS, squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, own) in zip(grid.flat, panels.items(), strict=False):
        _strip(axes, group, own, describe(name), as_image=as_image)
        title = textwrap.fill(short(describe(name).heading, 3 * _TITLE), _TITLE)
        axes.set_title(title, loc="left")


def span_of(values: Sequence[float], known: Description) -> tuple[float, float]:
    """Return the ends of an axis that holds values and none that the metric cannot have."""
    low, high = min(values), max(values)
    margin = 0.12 * (high - low) or 0.1 * abs(high) or (1.0 if known.is_count else 0.1)
    if known.is_count:
        margin = max(1.0, margin)
    low, high = low - margin, high + margin
    # a value out of range, of a damaged table, is still drawn
    return (
        low if known.low is None else max(low, min(known.low, *values, known.low)),
        high if known.high is None else min(high, max(known.high, *values, known.high)),
    )


def _strip(
    axes: Axes, group: PanelGroup, points: Sequence[Point], known: Description, *, as_image: bool
) -> None:
    rows = group.rows
    values = [p.metric.value for p in points if p.metric.value is not None]
    limits = [b for p in points for b in (p.metric.minimum, p.metric.maximum) if b is not None]
    low, high = span_of([*values, *limits], known)
    seen: dict[str, int] = {}
    dots: dict[Status, list[tuple[float, float]]] = {}
    for point in points:
        name = group.row(point)
        place, turn = rows.index(name), seen.get(name, 0)
        seen[name] = turn + 1
        if turn == 0:
            _limits(axes, point.metric, place, (low, high))
        # The golden ratio spreads any number of dots evenly and reproducibly.
        offset = 0.0 if group.by_sample else (turn * 0.618034 % 1 - 0.5) * 0.6
        value = point.metric.value or 0.0
        dots.setdefault(point.metric.status, []).append((value, place + offset))
        if group.by_sample:
            axes.text(
                1.06,
                place,
                metric_text(value, point.metric.name),
                transform=axes.get_yaxis_transform(),
                va="center",
                size=SMALL,
                color=FAILED if point.metric.status == "failed" else MUTED,
            )
    for status, spots in dots.items():
        colour, marker, _ = MARKS[status]
        axes.scatter(
            [across for across, _ in spots],
            [down for _, down in spots],
            s=20 if as_image else 50,
            color=colour,
            marker=marker,
            edgecolors="none" if as_image else PAPER_WHITE,
            linewidths=0.7,
            alpha=0.7 if as_image else 1,
            rasterized=as_image,
            clip_on=False,
            zorder=3,
        )
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [short(name, 18) for name in rows])
    axes.tick_params(axis="y", length=0, pad=9, labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=known.is_count))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number_text(v)))
    axes.hlines(range(len(rows)), low, high, color=RULE, linewidth=0.6, zorder=0)


def _limits(axes: Axes, metric: Metric, place: int, span: tuple[float, float]) -> None:
    bottom, top = place - 0.4, place + 0.4
    for limit, end in ((metric.minimum, span[0]), (metric.maximum, span[1])):
        if limit is not None:
            axes.fill_betweenx([bottom, top], limit, end, color=FAILED, alpha=0.13, linewidth=0)
            axes.vlines(limit, bottom, top, color=INK, linewidth=1.6, zorder=1)
