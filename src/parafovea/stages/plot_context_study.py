"""Stage plot_context_study: table and figure of the context study's scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from parafovea.report.context_study_figure import draw_study, overlaps, study_table
from parafovea.report.study_scores import read_scores, write_study


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
    lines = overlaps(read_scores(scores))

    def draw(files: Mapping[Path, str]) -> None:
        draw_study(lines, files, ratio=ratio, style=style)

    write_study(study_table(lines), table, (svg, pdf, png), draw)
