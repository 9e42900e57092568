"""Table and figure of a feature study: scores by features, without and with context, over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from parafovea.errors import ConfigError
from parafovea.report.canvas import new_figure, paper_style, save_forms, styled
from parafovea.report.study_scores import draw_seeds, over_seeds

#: Size of a panel in inches, and of what is around the panels.
PANEL, HEIGHT = 2.9, 3.2

#: Value of `context` in the scores of a model without context.
WITHOUT = "none"

#: Colour of the style and marker without and with context.
LOOKS = {False: ("C0", "o"), True: ("C1", "s")}
NAMES = {False: "without context", True: "with context"}

#: Axis labels of scores that are not of a class.
LABELS = {"psnr": "PSNR [dB]", "rmse": "RMSE", "ndvi_rmse": "NDVI RMSE"}

#: Scores of a class, with the text before its name.
PREFIXES = {"iou": "IoU", "precision": "precision", "recall": "recall", "rmse": "RMSE"}

#: Scores that are better when they are lower.
ERRORS = ("rmse", "ndvi_rmse")


def feature_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean and spread over seeds.

    Parameters
    ----------
    scores : DataFrame
        A row for each model and score: features, context, seed, metric, value.

    Returns
    -------
    DataFrame
        A row for each kind of features, context and metric: see `over_seeds`; and gain: mean minus
        that of the first features without context.
    """
    table = over_seeds(scores, ["features", "context", "metric"], "value")
    first = table[table["features"] == table["features"].iloc[0]]
    base = first[first["context"] == WITHOUT].set_index("metric")["mean"]
    table["gain"] = table["mean"] - table["metric"].map(base)
    return table


def draw_features(
    scores: pd.DataFrame, files: Mapping[Path, str], *, metrics: Sequence[str], style: Path
) -> None:
    """Draw a panel for each metric: scores by features and context, with a dot for each seed.

    Parameters
    ----------
    scores : DataFrame
        See `feature_table`.
    files : mapping of Path to str
        Files to write with their formats: .svg, .pdf or .png. Equal scores give equal bytes.
    metrics : sequence of str
        Scores to draw.
    style : Path
        Style file of figures for papers.

    Raises
    ------
    ConfigError
        If the models do not have one of the scores, or the style is invalid.
    """
    known = list(dict.fromkeys(scores["metric"]))
    if missing := [name for name in metrics if name not in known]:
        raise ConfigError(
            f"metrics of the study: the models have no score {missing[0]!r}: choose among "
            f"{', '.join(known)}"
        )
    names = list(dict.fromkeys(scores["features"]))
    with styled(paper_style(style)):
        figure = new_figure(max(3.6, PANEL * len(metrics)), HEIGHT, layout="constrained")
        panels = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            _panel(axes, scores[scores["metric"] == metric], names)
            axes.set_title(label(metric))
            axes.grid(axis="y")
        keys = [
            Line2D([], [], color=colour, marker=marker, label=NAMES[wide])
            for wide, (colour, marker) in LOOKS.items()
        ]
        figure.legend(handles=keys, loc="outside lower center", ncols=2)
        save_forms(figure, files)


def label(metric: str) -> str:
    """Return the name of a score, with an arrow if lower is better."""
    name, _, part = metric.partition(".")
    text = f"{PREFIXES.get(name, name)}, {part}" if part else LABELS.get(name, name)
    return f"{text} (lower is better)" if name in ERRORS else text


def _panel(axes: Axes, scores: pd.DataFrame, names: Sequence[str]) -> None:
    """Draw the seeds of each model, with a line at their mean."""
    for place, name in enumerate(names):
        for wide, (colour, marker) in LOOKS.items():
            own = scores[(scores["features"] == name) & ((scores["context"] != WITHOUT) == wide)]
            values = own.sort_values("seed")["value"].to_numpy()
            x = place + (0.18 if wide else -0.18)
            spread = 0.06 * (np.arange(len(values)) - (len(values) - 1) / 2)
            draw_seeds(axes, x + spread, values, colour, marker, reach=0.13)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.tick_params(axis="x", length=0)
