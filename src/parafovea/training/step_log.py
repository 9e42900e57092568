"""How far training is, as lines in the log."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning as L

logger = logging.getLogger(__name__)


class StepProgress(L.Callback):
    """Log loss, score and time left after each validation.

    Parameters
    ----------
    steps : int
        Steps of the whole training.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._start = 0.0
        self._first = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._start, self._first = time.monotonic(), trainer.global_step

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log a line."""
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
