"""Figure of IoU: a panel for each class, a row for each training or sample."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from parafovea.report.canvas import new_figure, paper_style, save_forms, styled

#: Inches: width of the labels and of a panel, height around the rows, of a row and of a line of it.
LABELS, PANEL, AROUND, ROW, LINE = 1.9, 2.3, 0.75, 0.2, 0.15

#: Characters in a line of a label.
LONGEST = 40

#: Columns of the table.
COLUMNS = ("label", "class", "iou")


def draw_overlaps(table: pd.DataFrame, files: Mapping[Path, str], *, style: Path) -> None:
    """Draw the IoU of each class by label, with a dot for each line and a bar at their mean.

    Parameters
    ----------
    table : DataFrame
        A row for each model or sample and class: label, class, iou. Rows of the same label and
        class, such as those of several seeds, are drawn in one row of the figure.
    files : mapping of Path to str
        Files to write with their formats: .svg, .pdf or .png. Equal tables give equal bytes.
    style : Path
        Style file of figures for papers.
    """
    labels = list(dict.fromkeys(table["label"].astype(str)))
    classes = list(dict.fromkeys(table["class"]))
    texts = [textwrap.fill(label, LONGEST) for label in labels]
    lines = [text.count("\n") + 1 for text in texts]
    height = AROUND + sum(ROW + LINE * count for count in lines)
    # rows as high as their labels
    ends = np.cumsum([ROW + LINE * count for count in lines])
    places = ends - np.diff(ends, prepend=0) / 2
    with styled(paper_style(style)):
        figure = new_figure(LABELS + PANEL * len(classes), height, layout="constrained")
        panels = figure.subplots(1, len(classes), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, classes, strict=True):
            own = table[table["class"] == name]
            for place, label in zip(places, labels, strict=True):
                values = own[own["label"].astype(str) == label]["iou"].to_numpy(float)
                axes.axhline(place, color="C0", linewidth=0.4, alpha=0.5)
                if len(values) > 1:
                    mean = float(np.nanmean(values))
                    axes.vlines(mean, place - 0.1, place + 0.1, color="C1")
                axes.plot(values, np.full(len(values), place), "o", color="C1", alpha=0.75)
            axes.set_title(name)
            axes.set_xlabel("IoU")
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
            axes.margins(x=0.12)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
        panels[0].set_yticks(places, texts)
        panels[0].set_ylim(ends[-1], 0)
        save_forms(figure, files)
