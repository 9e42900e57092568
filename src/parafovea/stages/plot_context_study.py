"""Stage plot_context_study: table and figure of the context study's scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from parafovea.report.context_study_figure import draw_study, overlaps, study_table
from parafovea.report.study_scores import MEANS, SCORES, read_scores, write_study


def plot_context_study(
    scores: Sequence[Path],
    style: Path,
    table: Path,
    lines: Path,
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
    lines : Path
        TSV to write: the lines of all `scores`.
    svg, pdf, png : Path
        Figures to write.
    ratio : int
        Ratio of context spacing to local spacing at which fusions are compared.
    """
    found = read_scores(scores)
    overlap = overlaps(found)

    def draw(files: Mapping[Path, str]) -> None:
        draw_study(overlap, files, ratio=ratio, style=style)

    tables = {table: (study_table(overlap), MEANS), lines: (found, SCORES)}
    write_study(tables, (svg, pdf, png), draw)
