"""Scores of a study's models: read, summarized over seeds, written with their figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from parafovea.storage.store import replacing

#: Formats of means and of single scores.
MEANS, SCORES = "%.4f", "%.6f"


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


def draw_seeds(
    axes: Axes, places: np.ndarray, values: np.ndarray, colour: str, marker: str, *, reach: float
) -> None:
    """Draw a dot for each seed, with a line at their mean.

    Parameters
    ----------
    axes : Axes
        Axes to draw on.
    places, values : (seed,) float
        Position and score of each seed; NaN is left out.
    colour, marker : str
        Colour of the style, such as "C1", and marker of the dots.
    reach : float
        Half the length of the line.
    """
    if np.isfinite(values).any():
        middle = float(np.mean(places))
        axes.hlines(np.nanmean(values), middle - reach, middle + reach, color=colour)
    axes.plot(places, values, marker, color=colour, alpha=0.75)


def write_study(
    tables: Mapping[Path, tuple[pd.DataFrame, str]],
    forms: Sequence[Path],
    draw: Callable[[Mapping[Path, str]], None],
) -> None:
    """Write the tables and the figure of a study, all of them or none.

    Parameters
    ----------
    tables : mapping of Path to tuple
        TSV files to write, each with its table and the format of its numbers.
    forms : sequence of Path
        Files of the figure, which end in .svg, .pdf or .png.
    draw : callable
        Draws the figure to files, given with their formats.
    """
    with ExitStack() as stack:
        draw({stack.enter_context(replacing(path)): path.suffix for path in forms})
        for file, (table, digits) in tables.items():
            partial = stack.enter_context(replacing(file))
            table.to_csv(partial, sep="\t", index=False, float_format=digits)
