"""Scores of a study's models: read, summarized over seeds, written with their figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from parafovea.storage.store import replacing


def read_scores(files: Sequence[Path]) -> pd.DataFrame:
    """Return the lines of the TSV files of `score_model`, one file per model."""
    return pd.concat([pd.read_csv(path, sep="\t") for path in files], ignore_index=True)


def over_seeds(scores: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Return the spread of a value over seeds.

    Parameters
    ----------
    scores : DataFrame
        A row for each model and score.
    by : sequence of str
        Columns that identify a model, without its seed, and a score.
    value : str
        Column of the score.

    Returns
    -------
    DataFrame
        A row for each combination of `by`, in their order: these columns, seeds, mean, sd (sample
        standard deviation; NaN for one seed), min, max.
    """
    groups = scores.groupby(list(by), sort=False)[value]
    return groups.agg(seeds="count", mean="mean", sd="std", min="min", max="max").reset_index()


def write_study(
    table: pd.DataFrame,
    file: Path,
    forms: Sequence[Path],
    draw: Callable[[Mapping[Path, str]], None],
) -> None:
    """Write the table and the figure of a study, all of them or none.

    Parameters
    ----------
    table : DataFrame
        The table.
    file : Path
        TSV to write it to.
    forms : sequence of Path
        Files of the figure, which end in .svg, .pdf or .png.
    draw : callable
        Draws the figure to files, given with their formats.
    """
    with ExitStack() as stack:
        draw({stack.enter_context(replacing(path)): path.suffix for path in forms})
        partial = stack.enter_context(replacing(file))
        table.to_csv(partial, sep="\t", index=False, float_format="%.4f")
