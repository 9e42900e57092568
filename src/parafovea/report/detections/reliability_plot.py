"""Reliability plot of predicted and observed frequencies, before and after calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from parafovea.postprocess.detection.calibration import Calibration
from parafovea.quality.detections.reliability import Reliability, reliability
from parafovea.report.canvas import new_figure, paper_style, save_forms, styled
from parafovea.report.palette import MUTED, RULE

Array = np.ndarray[Any, Any]

#: Inches.
WIDTH, HEIGHT = 4.6, 4.8

#: Colours of the style.
BEFORE, AFTER = "C2", "C1"


def draw_reliability(
    calibration: Calibration,
    probability: Array,
    label: Array,
    files: Mapping[Path, str],
    *,
    style: Path,
) -> None:
    """Draw the share of true candidates over their mean score, and the number of candidates.

    Parameters
    ----------
    calibration : Calibration
        The fitted calibration.
    probability : (n,) float
        Scores before calibration, in [0, 1].
    label : (n,) int
        1 true, 0 false.
    files : mapping of Path to str
        Files to write with their formats: .svg, .pdf or .png. Equal scores give equal bytes.
    style : Path
        Style file of figures for papers.
    """
    after = calibration.apply(probability)
    held_out = calibration.fit.held_out.ece
    lines = (
        ("before", BEFORE, reliability(probability, label), ""),
        (calibration.method, AFTER, reliability(after, label), f" (held out {held_out:.3f})"),
    )
    with styled(paper_style(style)):
        figure = new_figure(WIDTH, HEIGHT, layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle="--")
        for name, colour, bins, words in lines:
            error = bins.expected_calibration_error
            _line(upper, bins, colour, f"{name}: calibration error {error:.3f}{words}")
            edges = np.linspace(0, 1, len(bins.count) + 1)
            lower.stairs(bins.count, edges, color=colour, linewidth=1.4)
        # space for the legend above the data
        upper.set_ylim(-0.02, 1.2)
        upper.set_yticks(np.linspace(0, 1, 6))
        upper.set_ylabel("share of label 1")
        upper.legend(loc="upper left")
        upper.set_title("Reliability", loc="left", weight="bold")
        lower.axhline(0, color=RULE, linewidth=0.8)
        lower.set_ylabel("candidates")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        lower.set_xlim(-0.02, 1.02)
        lower.set_xlabel("score, mean of the bin")
        for axes in (upper, lower):
            axes.grid()
        save_forms(figure, files)


def _line(axes: Axes, bins: Reliability, colour: str, label: str) -> None:
    held = bins.count > 0
    axes.plot(
        bins.predicted[held],
        bins.observed[held],
        "o-",
        color=colour,
        linewidth=1.6,
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label=label,
    )
