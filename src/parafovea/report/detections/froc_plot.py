"""FROC figure as in the LUNA16 paper, with table and summary files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from parafovea.quality.detections.detector_score import DetectionScore
from parafovea.quality.detections.froc import OPERATING_POINTS
from parafovea.report.canvas import (
    Drawing,
    new_figure,
    on_page,
    paper_style,
    save_forms,
    styled,
    svg_text,
)
from parafovea.report.palette import PAPER_WHITE
from parafovea.report.units import counted

#: Inches.
WIDTH, HEIGHT = 4.6, 3.6

#: Inches of the curve beside the sensitivity by diameter.
WIDE, LOW = 7.2, 3.2

#: Distinct on light and dark pages.
COLOUR = "#1F7FBF"

#: Limits between diameters in millimetres.
DIAMETERS = (4.0, 6.0, 8.0, 10.0, 15.0, 20.0)

#: False positives per scan at which nodules are counted by diameter.
COUNTED_AT = 1.0

TICKS = ("1/8", "1/4", "1/2", "1", "2", "4", "8")


def draw_froc(score: DetectionScore, files: Mapping[Path, str], *, style: Path) -> None:
    """Draw the curve with its operating points and the band of its interval.

    Parameters
    ----------
    score : DetectionScore
        Score to draw.
    files : mapping of Path to str
        Files to write with their formats: .svg, .pdf or .png. Equal scores give equal bytes.
    style : Path
        Style file of figures for papers.
    """
    with styled(paper_style(style)):
        save_forms(froc_figure(score), files)


def draw_froc_by_diameter(score: DetectionScore, files: Mapping[Path, str], *, style: Path) -> None:
    """Draw the curve, and beside it the sensitivity by diameter at one false positive per scan.

    Parameters
    ----------
    score, files, style
        As for `draw_froc`.
    """
    with styled(paper_style(style)):
        figure = new_figure(WIDE, LOW, layout="constrained")
        curve, sizes = figure.subplots(1, 2, sharey=True)
        _draw_curve(curve, score, colour="C1")
        _draw_diameters(sizes, score)
        save_forms(figure, files)


def found_by_diameter(score: DetectionScore, rate: float = COUNTED_AT) -> pd.DataFrame:
    """Return how many nodules of each range of diameters are found at a rate of false positives.

    Parameters
    ----------
    score : DetectionScore
        Score of a detector.
    rate : float
        False positives per scan, one of the operating points.

    Returns
    -------
    DataFrame
        A row for each range that has nodules: label, nodules, found.
    """
    threshold = float(score.points["threshold"].to_numpy()[OPERATING_POINTS.index(rate)])
    findings = score.matching.findings
    found = findings["hit"] & (findings["probability"] >= threshold)
    names = [f"< {DIAMETERS[0]:g}"]
    names += [f"{low:g}-{high:g}" for low, high in itertools.pairwise(DIAMETERS)]
    names += [f"≥ {DIAMETERS[-1]:g}"]
    place = np.searchsorted(DIAMETERS, findings["diameter_mm"].to_numpy(float), side="right")
    groups = found.groupby(place)
    table = pd.DataFrame({"nodules": groups.size(), "found": groups.sum()}).reset_index(drop=True)
    table.insert(0, "label", [names[each] for each in sorted(set(place))])
    return table


def _draw_diameters(axes: Axes, score: DetectionScore) -> None:
    table = found_by_diameter(score)
    share = table["found"] / table["nodules"]
    axes.bar(range(len(table)), share, width=0.62, color="C1", alpha=0.85)
    words = [f"{row.label}\n{row.found}/{row.nodules}" for row in table.itertuples()]
    axes.set_xticks(range(len(table)), words)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("diameter [mm], found / nodules")
    axes.set_title(f"Found at {COUNTED_AT:g} false positive per scan", loc="left", weight="bold")
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def froc_figure(score: DetectionScore) -> Figure:
    """Return the figure of `draw_froc`; call within `canvas.styled`."""
    figure = new_figure(WIDTH, HEIGHT, layout="constrained")
    _draw_curve(figure.subplots(), score, colour=COLOUR)
    return figure


def _draw_curve(axes: Axes, score: DetectionScore, *, colour: str) -> None:
    """Draw the curve with its operating points and the band of its interval."""
    band, points = score.band, score.points
    axes.set_xscale("log", base=2)
    x = band["false_positives_per_scan"]
    if band["lower"].notna().all():
        share = f"{100 * score.confidence:g} % interval, bootstrap over scans"
        axes.fill_between(
            x, band["lower"], band["upper"], color=colour, alpha=0.2, linewidth=0, label=share
        )
    counts = score.matching.counts
    label = f"{counted(counts['nodules'], 'nodule')} in {counted(counts['series'], 'scan')}"
    axes.plot(x, band["sensitivity"], color=colour, linewidth=1.8, label=label)
    axes.plot(
        points["false_positives_per_scan"],
        points["sensitivity"],
        "o",
        color=colour,
        markersize=4.5,
        markeredgecolor=PAPER_WHITE,
        markeredgewidth=0.8,
        clip_on=False,
    )
    axes.set_xlim(OPERATING_POINTS[0], OPERATING_POINTS[-1])
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(FixedLocator(OPERATING_POINTS))
    axes.xaxis.set_major_formatter(FixedFormatter(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(FixedLocator([i / 5 for i in range(6)]))
    axes.set_xlabel("false positives per scan")
    axes.set_ylabel("sensitivity")
    axes.grid()
    axes.set_axisbelow(True)
    axes.set_title(_title(score), loc="left", weight="bold")
    axes.legend(loc="upper left" if band["sensitivity"].iloc[-1] < 0.5 else "lower right")


def _title(score: DetectionScore) -> str:
    ends = score.score_interval
    if ends is None:
        return f"CPM {score.score:.3f}"
    return f"CPM {score.score:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


#: Enough digits to distinguish probabilities of nine decimals.
DIGITS = "%.10g"


def curve_table(score: DetectionScore) -> pd.DataFrame:
    """Return the corners of the curve: false_positives_per_scan, sensitivity, threshold."""
    corners = score.curve.corners()
    return pd.DataFrame(
        {
            "false_positives_per_scan": corners.false_positives,
            "sensitivity": corners.sensitivity,
            "threshold": corners.threshold,
        }
    )


def summary_text(score: DetectionScore, provenance: Mapping[str, Any]) -> str:
    """Return the text of summary.json."""
    record = {**score.summary(), "provenance": dict(provenance)}
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def write_froc(
    score: DetectionScore, folder: Path, provenance: Mapping[str, Any], *, style: Path
) -> None:
    """Write froc.tsv, summary.json, froc.svg and froc.png into an existing folder."""
    draw_froc(score, {folder / f"froc{suffix}": suffix for suffix in (".svg", ".png")}, style=style)
    table = curve_table(score)
    table.to_csv(folder / "froc.tsv", sep="\t", index=False, float_format=DIGITS)
    text = summary_text(score, provenance)
    (folder / "summary.json").write_text(text, encoding="utf-8", newline="\n")


def froc_drawing(path: Path, task: str, score: DetectionScore) -> Drawing:
    """Return the PNG of the curve, written by `write_froc`, with title and caption."""
    counts = score.matching.counts
    ends = score.score_interval
    spread = (
        ""
        if ends is None
        else f" ({ends[0]:.3f} to {ends[1]:.3f}, 95 % bootstrap interval over scans)"
    )
    caption = (
        f"Sensitivity over false positives per scan of {counted(counts['series'], 'scan')} with "
        f"truth: {counts['hit']} of {counted(counts['nodules'], 'nodule')} found. A detection "
        "hits a nodule if the distance of their centres is below the nodule's radius (LUNA16). The "
        "dots are the operating points, whose mean sensitivity, the CPM, is "
        f"{score.score:.3f}{spread}."
    )
    with styled():
        svg = svg_text(froc_figure(score))
    return on_page(Drawing(path, f"FROC of {task}", caption), svg)
