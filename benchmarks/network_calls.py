"""The network alone: what an engine is given is recorded, then run again from memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from parafovea.inference.engines import Engine, Guides
from parafovea.inference.predictor import Predictor

#: What an engine takes for one batch: features, context and conditions.
Call = tuple[Tensor, Guides, Tensor | None]


class Recorder:
    """An engine that keeps what it is given.

    Parameters
    ----------
    engine : Engine
        The one that answers.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: list[Call] = []

    def logits(self, features: Tensor, guides: Guides, conditions: Tensor | None = None) -> Tensor:
        """Return class scores; see `Engine`."""
        self.calls.append((features, guides, conditions))
        return self._engine.logits(features, guides, conditions)


def recorded(predictor: Predictor, predict: Callable[[], object]) -> list[Call]:
    """Return what a predictor gives its network during some predictions.

    Parameters
    ----------
    predictor : Predictor
        Keeps its engine.
    predict : callable
        Predicts with it; what it returns does not matter.
    """
    usual = predictor.engine
    recorder = Recorder(usual)
    predictor.engine = recorder
    try:
        predict()
    finally:
        predictor.engine = usual
    return recorder.calls


def replayed(engine: Engine, calls: Sequence[Call], *, count: int) -> float:
    """Run an engine over recorded batches again and again, `count` in all; return the seconds."""
    with torch.inference_mode():
        start = time.perf_counter()
        for call in itertools.islice(itertools.cycle(calls), count):
            engine.logits(*call)
        return time.perf_counter() - start
