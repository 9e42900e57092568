"""Figure of refined tiles by month: how far they are from the truth before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from parafovea.report.canvas import new_figure, paper_style, save_forms, styled

#: Inches.
WIDTH, HEIGHT = 7.2, 4.8


@dataclass(frozen=True)
class Measure:
    """A metric of a tile: its name, its label, and whether more is better."""

    name: str
    label: str
    rises: bool


MEASURES = (
    Measure("rmse", "RMSE", False),
    Measure("psnr", "PSNR [dB]", True),
    Measure("ndvi_rmse", "NDVI RMSE", False),
    Measure("edge_correlation", "edge correlation (B08)", True),
)

#: Kind of the images that were refined.
DEGRADED = "degraded"

#: Colour of the style, marker and dashes: of the degraded images, then of each refinement.
LOOKS = (("C0", "o", ":"), ("C1", "s", "-"), ("C2", "^", "--"), ("C3", "D", "-."), ("C4", "v", "-"))


def kinds_of(table: pd.DataFrame) -> list[str]:
    """Return the kinds of images in a table of `draw_months`, the degraded ones first."""
    found = [name.partition(".")[2] for name in table.columns if name.startswith("psnr.")]
    return sorted(found, key=lambda kind: kind != DEGRADED)


def draw_months(
    table: pd.DataFrame,
    files: Mapping[Path, str],
    *,
    style: Path,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Draw each metric by month: a mark for each tile, a line through the means of months.

    Parameters
    ----------
    table : DataFrame
        A row for each tile: the month, and METRIC.KIND of each of `MEASURES` and each kind of
        image, of which `DEGRADED` is one.
    files : mapping of Path to str
        Files to write with their formats: .svg, .pdf or .png. Equal tables give equal bytes.
    style : Path
        Style file of figures for papers.
    labels : mapping of str to str, optional
        Words for kinds; by default the kinds themselves.
    """
    kinds = kinds_of(table)
    words = {**{kind: kind for kind in kinds}, **(labels or {})}
    with styled(paper_style(style)):
        figure = new_figure(WIDTH, HEIGHT, layout="constrained")
        for axes, measure in zip(figure.subplots(2, 2).flat, MEASURES, strict=True):
            for place, kind in enumerate(kinds):
                shift = 0.2 * (place - (len(kinds) - 1) / 2)
                _draw_kind(axes, table, f"{measure.name}.{kind}", place, shift, words[kind])
            axes.set_title(measure.label if measure.rises else f"{measure.label} (lower is better)")
            axes.set_xticks(np.arange(1, 13), list("JFMAMJJASOND"))
            axes.set_xlim(0.5, 12.5)
            axes.grid(axis="y")
            if not measure.rises:
                axes.set_ylim(bottom=0)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=min(3, len(kinds)))
        save_forms(figure, files)


def _draw_kind(
    axes: Axes, table: pd.DataFrame, column: str, place: int, shift: float, label: str
) -> None:
    """Draw the tiles of a kind of image, and a line through the means of its months."""
    colour, marker, dashes = LOOKS[place % len(LOOKS)]
    values = table[column]
    means = values.groupby(table["month"]).mean()
    # months without a tile break the line
    months = range(1, 13)
    line = means.reindex(months)
    axes.plot(
        np.asarray(months) + shift, line, linestyle=dashes, color=colour, marker="_", markersize=9
    )
    axes.plot(table["month"] + shift, values, marker, color=colour, alpha=0.75, markersize=3.5)
    axes.plot([], [], color=colour, linestyle=dashes, marker=marker, label=label)
