"""Figure of windows: the time, the quality and the seams of a prediction by its windows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from parafovea.report.canvas import new_figure, paper_style, save_forms, styled

#: Inches: width, height around the rows, and height of a row.
WIDTH, AROUND, ROW = 7.2, 1.15, 0.34

#: Markers of the samples, in the order of their columns.
MARKERS = "os^Dv"

#: Beginning of the columns of samples, and the other columns of the table.
PREFIX, COLUMNS = "iou.", ("window", "overlap", "seconds", "seam_low", "seam_high")


def draw_windows(table: pd.DataFrame, files: Mapping[Path, str], *, style: Path) -> None:
    """Draw a row for each choice of windows: processor time, mean IoU of each sample, seams.

    Parameters
    ----------
    table : DataFrame
        A row for each choice: window and overlap as text, seconds of processor time, `iou.NAME` for
        each sample, seam_low and seam_high: the least and the greatest seam of the samples.
    files : mapping of Path to str
        Files to write with their formats: .svg, .pdf or .png. Equal tables give equal bytes.
    style : Path
        Style file of figures for papers.
    """
    samples = [name for name in table.columns if name.startswith(PREFIX)]
    rows = np.arange(len(table))
    with styled(paper_style(style)):
        figure = new_figure(WIDTH, AROUND + ROW * len(table), layout="constrained")
        time, quality, seams = figure.subplots(1, 3, sharey=True, width_ratios=(1.1, 1, 0.8))
        time.barh(rows, table["seconds"], height=0.6, color="C1", alpha=0.85)
        for row, seconds in zip(rows, table["seconds"], strict=True):
            time.annotate(
                f"{seconds:.1f}",
                (seconds, row),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
            )
        time.margins(x=0.16)
        for place, name in enumerate(samples):
            shift = 0.16 * (place - (len(samples) - 1) / 2)
            label = name.removeprefix(PREFIX)
            quality.plot(
                table[name],
                rows + shift,
                MARKERS[place % len(MARKERS)],
                color=f"C{place}",
                label=label,
            )
        quality.margins(x=0.15)
        seams.hlines(rows, table["seam_low"], table["seam_high"], color="C1", linewidth=2.5)
        for end in ("seam_low", "seam_high"):
            seams.plot(table[end], rows, "|", color="C1", markersize=8)
        seams.set_xlim(1, float(table["seam_high"].max()) + 0.15)
        labels = [
            f"{window}, overlap {overlap}"
            for window, overlap in zip(table["window"], table["overlap"], strict=True)
        ]
        time.set_yticks(rows, labels)
        time.invert_yaxis()
        words = {
            time: ("Processor time", "seconds"),
            quality: ("Quality", "mean IoU"),
            seams: ("Seams", "relative step"),
        }
        for axes, (title, unit) in words.items():
            axes.set_title(title)
            axes.set_xlabel(unit)
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
        handles, names = quality.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(samples))
        save_forms(figure, files)
