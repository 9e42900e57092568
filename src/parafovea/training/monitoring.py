"""Monitoring of training: progress in the log, and the loss curve."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


class StepProgress(L.Callback):
    """Log loss, score and time left after each validation.

    Parameters
    ----------
    steps : int
        Total number of steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._start = 0.0
        self._first = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._start, self._first = time.monotonic(), trainer.global_step

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log the progress."""
        done = trainer.global_step - self._first
        if not done or not pl_module.history:
            return
        left = (time.monotonic() - self._start) / done * (self.steps - trainer.global_step)
        row = pl_module.history[-1]
        logger.info(
            "step %d of %d: loss %.4f, validation %s %.4f, about %.0f s left",
            trainer.global_step,
            self.steps,
            row["loss"],
            pl_module.objective.score_name,
            row[pl_module.objective.score],
            left,
        )


def draw_curve(history: pd.DataFrame, path: Path, *, title: str, loss: str, score: str) -> None:
    """Draw the training loss and the validation scores over the steps.

    Parameters
    ----------
    history : DataFrame
        A row per validation: step, loss, the score, and further scores, of which it is the mean or
        with which it is to be compared.
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
    left.set(xlabel="step", ylabel=f"training loss ({loss})")
    if (history["loss"] >= 0).all():  # an expected error may be rewarded by less than nothing
        left.set_ylim(0, 1.05 * history["loss"].max() or 1)
    colours = ["#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    chosen, *parts = history.columns[2:]
    label = score
    if parts and np.allclose(history[parts].mean(axis=1), history[chosen], equal_nan=True):
        label = "mean"
    if len(parts) == 1 and label == "mean":
        label = parts.pop().removeprefix("iou.")
    for index, column in enumerate(parts):
        right.plot(
            history["step"],
            history[column],
            color=colours[index % len(colours)],
            label=column.removeprefix("iou."),
            linewidth=1.2,
        )
    right.plot(history["step"], history[chosen], color="black", label=label, linewidth=2)
    right.set(xlabel="step", ylabel=f"validation {score}")
    scores = history[[chosen, *parts]]
    if not ((scores < 0) | (scores > 1)).any(axis=None):
        right.set_ylim(0, 1)
    right.legend(frameon=False, loc="best")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=120, metadata={"Software": None})
