"""FROC figure as in the LUNA16 paper, with table and summary files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
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
from parafovea.report.palette import MUTED, PAPER_WHITE, RULE
from parafovea.report.units import counted

#: Inches.
WIDTH, HEIGHT = 4.6, 3.6

#: Distinct on light and dark pages.
COLOUR = "#1F7FBF"

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


def froc_figure(score: DetectionScore) -> Figure:
    """Return the figure of `draw_froc`; call within `canvas.styled`."""
    band, points = score.band, score.points
    figure = new_figure(WIDTH, HEIGHT, layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    x = band["false_positives_per_scan"]
    if band["lower"].notna().all():
        share = f"{100 * score.confidence:g} % interval, bootstrap over scans"
        axes.fill_between(
            x, band["lower"], band["upper"], color=COLOUR, alpha=0.2, linewidth=0, label=share
        )
    counts = score.matching.counts
    label = f"{counted(counts['nodules'], 'nodule')} in {counted(counts['series'], 'scan')}"
    axes.plot(x, band["sensitivity"], color=COLOUR, linewidth=1.8, label=label)
    axes.plot(
        points["false_positives_per_scan"],
        points["sensitivity"],
        "o",
        color=COLOUR,
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
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(MUTED)
    axes.grid(color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_title(_title(score), loc="left", weight="bold")
    axes.legend(loc="upper left" if band["sensitivity"].iloc[-1] < 0.5 else "lower right")
    return figure


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
