"""Stage plot_feature_study: table and figure of a feature study's scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from parafovea.report.feature_study_figure import draw_features, feature_table
from parafovea.report.study_scores import MEANS, SCORES, read_scores, write_study


def plot_feature_study(
    scores: Sequence[Path],
    style: Path,
    table: Path,
    lines: Path,
    svg: Path,
    pdf: Path,
    png: Path,
    *,
    metrics: Sequence[str],
) -> None:
    """Write the mean and spread over seeds as a table and as a figure.

    Parameters
    ----------
    scores : sequence of Path
        TSV files of `score_model`, one per model, with the columns features, context, seed, metric
        and value.
    style : Path
        Style file of figures for papers.
    table : Path
        TSV to write: see `parafovea.report.feature_study_figure.feature_table`.
    lines : Path
        TSV to write: the lines of all `scores`.
    svg, pdf, png : Path
        Figures to write.
    metrics : sequence of str
        Scores in the figure; the table has all of them.

    Raises
    ------
    ConfigError
        If the models do not have one of the metrics, or the style is invalid.
    """
    found = read_scores(scores)

    def draw(files: Mapping[Path, str]) -> None:
        draw_features(found, files, metrics=metrics, style=style)

    tables = {table: (feature_table(found), MEANS), lines: (found, SCORES)}
    write_study(tables, (svg, pdf, png), draw)
