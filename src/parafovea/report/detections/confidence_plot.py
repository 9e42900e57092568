"""Histogram of the confidences of a scan's detections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from parafovea.postprocess.detection.detection_files import Detections
from parafovea.report.canvas import Drawing, new_figure, save
from parafovea.report.palette import INK, MUTED, PAPER_WHITE
from parafovea.report.units import counted
from parafovea.storage.class_colours import OKABE_ITO

#: Colour of the dots, distinct on light and dark pages.
_DOT = "#2A86C4"

#: Histogram bins from 0 to 1.
_BINS = 20


def draw_confidences(
    document: Detections, path: Path, *, min_confidence: float | None = None
) -> Drawing:
    """Write a histogram of the confidences as PNG.

    Parameters
    ----------
    document : Detections
        Detections of one scan.
    path : Path
        PNG file to write.
    min_confidence : float, optional
        Threshold of the detections, drawn as a line.

    Returns
    -------
    Drawing
        File, title and caption. Draw within `canvas.styled`.
    """
    figure = confidences_figure(document, min_confidence=min_confidence)
    caption = (
        f"Confidences of {counted(len(document.detections), 'detection')}, in {_BINS} equal "
        "bins; each detection is a dot below, at its diameter."
    )
    if min_confidence is not None:
        caption += f" The dashed line is the minimum confidence, {min_confidence:g}."
    return save(figure, Drawing(path, "Confidences", caption))


def confidences_figure(document: Detections, *, min_confidence: float | None = None) -> Figure:
    """Draw the histogram and, below it, each detection's confidence and diameter."""
    found = document.detections
    values = np.array([d.confidence for d in found])
    widths = np.array([d.diameter_mm for d in found])
    figure = new_figure(6.5, 4.2, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1.2])
    bins = np.linspace(0, 1, _BINS + 1).tolist()
    above.hist(values, bins=bins, color=OKABE_ITO[1], edgecolor=PAPER_WHITE, linewidth=0.6)
    above.yaxis.get_major_locator().set_params(integer=True, nbins=5)
    above.set_ylabel("detections")
    count = counted(len(found), "detection")
    above.set_title(f"{document.scan_id} · {count}", loc="left", weight="bold")
    below.scatter(
        values,
        widths,
        s=26,
        clip_on=False,
        zorder=3,
        color=_DOT,
        edgecolor=PAPER_WHITE,
        linewidth=0.6,
    )
    below.set_ylabel("diameter (mm)")
    below.set_xlabel("confidence")
    below.set_xlim(0, 1)
    below.set_ylim(0, max(10.0, float(widths.max(initial=0)) * 1.15))
    if min_confidence is not None:
        for axes in (above, below):
            axes.axvline(min_confidence, color=INK, linestyle="--", linewidth=1)
    if not len(found):
        above.text(0.5, 0.5, "no detections", transform=above.transAxes, ha="center", color=MUTED)
        above.set_ylim(0, 1)
    return figure
