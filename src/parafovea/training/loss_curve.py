"""The loss curve as a picture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw_curve(history: pd.DataFrame, path: Path, *, title: str, loss: str, score: str) -> None:
    """Draw the training loss and the validation scores over the steps.

    Parameters
    ----------
    history : DataFrame
        A row each validation: step, loss, the mean score, and those that it is the mean of.
    path : Path
        PNG to write; the same bytes for the same history.
    title : str
        Name of the model.
    loss, score : str
        Names of the loss and of the score.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(history["step"], history["loss"], color="#0072B2", marker="o", markersize=3)
    left.set(xlabel="step", ylabel=f"training loss ({loss})", ylim=(0, None))
    colours = ["#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    mean, *parts = history.columns[2:]
    for index, column in enumerate(parts):
        right.plot(
            history["step"],
            history[column],
            color=colours[index % len(colours)],
            label=column.removeprefix("iou."),
            linewidth=1.2,
        )
    right.plot(history["step"], history[mean], color="black", label="mean", linewidth=2)
    right.set(xlabel="step", ylabel=f"validation {score}", ylim=(0, 1))
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=120, metadata={"Software": None})
