"""The FROC figure: sensitivity over false positives a scan, as in the LUNA16 paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from parafovea.quality.detections import DetectionScore
from parafovea.quality.froc import OPERATING_POINTS
from parafovea.report.canvas import MUTED, PAPER, new_figure, save_forms, styled

#: Inches.
WIDTH, HEIGHT = 4.6, 3.6

COLOUR = "#0072B2"

TICKS = ("1/8", "1/4", "1/2", "1", "2", "4", "8")


def draw_froc(score: DetectionScore, files: Mapping[Path, str]) -> None:
    """Draw the curve with a dot at each operating point and the band of its interval.

    Parameters
    ----------
    score : DetectionScore
        What to draw.
    files : mapping of Path to str
        Files to write, each with its format: .svg, .pdf or .png. The same bytes for the same
        score.
    """
    band, points = score.band, score.points
    with styled(PAPER):
        figure = new_figure(WIDTH, HEIGHT, layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        x = band["false_positives_per_scan"]
        if band["lower"].notna().all():
            share = f"{100 * score.confidence:g}% interval, bootstrap over scans"
            axes.fill_between(
                x, band["lower"], band["upper"], color=COLOUR, alpha=0.16, linewidth=0, label=share
            )
        counts = score.matching.counts
        label = f"{counts['nodules']} nodules in {counts['series']} scans"
        axes.plot(x, band["sensitivity"], color=COLOUR, linewidth=1.8, label=label)
        axes.plot(
            points["false_positives_per_scan"],
            points["sensitivity"],
            "o",
            color=COLOUR,
            markersize=4.5,
            markeredgecolor="white",
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
        axes.grid(color="#E8EBEF", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title(_title(score), loc="left", weight="bold")
        axes.legend(loc="upper left" if band["sensitivity"].iloc[-1] < 0.5 else "lower right")
        save_forms(figure, files)


def _title(score: DetectionScore) -> str:
    ends = score.score_interval
    if ends is None:
        return f"CPM {score.score:.3f}"
    return f"CPM {score.score:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"
