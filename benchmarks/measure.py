"""Ratios of times, measured in turns so that a busy machine slows both sides alike."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

logger = logging.getLogger(__name__)

#: Does a piece of work once and returns the seconds that count; its preparation stays outside.
Work = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """How many times as long one piece of work took as another.

    Parameters
    ----------
    value : float
        Median over the rounds of the ratio within a round.
    spread : tuple of float
        Smallest and largest ratio within a round.
    """

    value: float
    spread: tuple[float, float]

    @classmethod
    def of(cls, above: Sequence[float], below: Sequence[float]) -> Ratio:
        """Return the ratio of times of the same rounds, in seconds.

        A ratio is taken within each round, before the median, since what else the machine does
        changes between rounds more than within one.
        """
        pairs = [a / b for a, b in zip(above, below, strict=True)]
        return cls(statistics.median(pairs), (min(pairs), max(pairs)))


def whole(function: Callable[[], object]) -> Work:
    """Return a function without arguments as work whose every second counts."""

    def work() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return work


def in_turns(
    works: Mapping[str, Work], *, repeats: int, warm_up: bool = True
) -> dict[str, tuple[float, ...]]:
    """Do each piece of work in turn (A, B, A, B, …) and return the seconds of each.

    Parameters
    ----------
    works : mapping of str to callable
        The work, by name.
    repeats : int
        Rounds that count.
    warm_up : bool
        Do one more round before, uncounted: first calls choose kernels and fill caches.

    Returns
    -------
    dict of str to tuple of float
        Seconds, by name, one for each counted round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + warm_up):
        counts = turn >= warm_up
        for name, work in works.items():
            took = work()
            logger.info(
                "  %s: %.2f s%s", name, took, "" if counts else " (warm-up, does not count)"
            )
            if counts:
                seconds[name].append(took)
    return {name: tuple(values) for name, values in seconds.items()}
