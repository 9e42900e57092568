"""The loss curve as a picture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw_curve(history: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw the training loss and the validation scores over the steps.

    Parameters
    ----------
    history : DataFrame
        A row each validation: step, loss, validation_iou, iou.CLASS.
    path : Path
        PNG to write; the same bytes for the same history.
    title : str
        Name of the model.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(history["step"], history["loss"], color="#0072B2", marker="o", markersize=3)
    left.set(xlabel="step", ylabel="training loss (Dice + cross-entropy)", ylim=(0, None))
    colours = ["#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    classes = [c for c in history.columns if c.startswith("iou.")]
    for index, column in enumerate(classes):
        right.plot(
            history["step"],
            history[column],
            color=colours[index % len(colours)],
            label=column.removeprefix("iou."),
            linewidth=1.2,
        )
    right.plot(history["step"], history["validation_iou"], color="black", label="mean", linewidth=2)
    right.set(xlabel="step", ylabel="validation IoU", ylim=(0, 1))
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=120, metadata={"Software": None})
