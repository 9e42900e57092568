"""Stage plot_feature_study: table and figure of a feature study's scores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from parafovea.report.feature_study_figure import draw_features, feature_table
from parafovea.storage.store import replacing


def plot_feature_study(
    scores: Sequence[Path],
    style: Path,
    table: Path,
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
    svg, pdf, png : Path
        Figures to write.
    metrics : sequence of str
        Scores in the figure; the table has all of them.

    Raises
    ------
    ConfigError
        If the models do not have one of the metrics, or the style is invalid.
    """
    lines = pd.concat([pd.read_csv(path, sep="\t") for path in scores], ignore_index=True)
    with ExitStack() as stack:
        drawn = {stack.enter_context(replacing(path)): path.suffix for path in (svg, pdf, png)}
        draw_features(lines, drawn, metrics=metrics, style=style)
        partial = stack.enter_context(replacing(table))
        feature_table(lines).to_csv(partial, sep="\t", index=False, float_format="%.4f")
