"""Stage plot_context_study: table and figure of the context study's scores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from parafovea.report.context_study_figure import draw_study, overlaps, study_table
from parafovea.storage.store import replacing


def plot_context_study(
    scores: Sequence[Path],
    style: Path,
    table: Path,
    svg: Path,
    pdf: Path,
    png: Path,
    *,
    ratio: int,
) -> None:
    """Write the mean and spread over seeds as a table and as a figure.

    Parameters
    ----------
    scores : sequence of Path
        TSV files of `score_model`, one per model, with the columns fusion, ratio, seed, metric and
        value.
    style : Path
        Style file of figures for papers.
    table : Path
        TSV to write: see `parafovea.report.context_study_figure.study_table`.
    svg, pdf, png : Path
        Figures to write.
    ratio : int
        Ratio of context spacing to local spacing at which fusions are compared.
    """
    lines = pd.concat([pd.read_csv(path, sep="\t") for path in scores], ignore_index=True)
    lines = overlaps(lines)
    with ExitStack() as stack:
        drawn = {stack.enter_context(replacing(path)): path.suffix for path in (svg, pdf, png)}
        draw_study(lines, drawn, ratio=ratio, style=style)
        partial = stack.enter_context(replacing(table))
        study_table(lines).to_csv(partial, sep="\t", index=False, float_format="%.4f")
