"""Progress of long-running work, as log lines and callbacks."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Seconds between log lines.
INTERVAL = 10.0

#: Callback for the progress of the current work, from 0 to 1.
_observer: ContextVar[Callable[[float], None] | None] = ContextVar("observer", default=None)


#: Callback for the current stage and the progress of all work, from 0 to 1.
Observer = Callable[[str, float], None]


@contextlib.contextmanager
def observed(observer: Callable[[float], None]) -> Iterator[None]:
    """Call a function with the progress, from 0 to 1, at each step of the work in this block."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def tracked(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the items, and log regularly how many are done and the time left.

    Parameters
    ----------
    items : iterable
        Items of work.
    total : int
        Number of items.
    what : str
        Plural noun for the log ("windows").
    """
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if (observer := _observer.get()) is not None:
            observer(done / max(total, 1))
        now = time.monotonic()
        if now - last >= INTERVAL and done < total:
            last = now
            left = (now - start) / done * (total - done)
            logger.info("%d of %d %s, about %.0f s left", done, total, what, left)
    logger.info("%d %s in %.1f s", total, what, time.monotonic() - start)


class Steps:
    """Progress over several stages, weighted by their expected duration.

    Parameters
    ----------
    seconds : mapping of str to float
        Expected duration of each stage.
    observer : callable, optional
        Progress callback.
    """

    def __init__(self, seconds: Mapping[str, float], observer: Observer | None) -> None:
        # one second for the start of each stage
        self._seconds = {stage: 1 + expected for stage, expected in seconds.items()}
        self._observer = observer
        self._stage = ""
        self._before = 0.0

    def begin(self, stage: str) -> None:
        """Record that a stage begins, and that the previous one is finished."""
        if stage != self._stage:
            self._before += self._seconds.get(self._stage, 0.0)
            self._stage = stage
        self.within(0.0)

    def within(self, share: float) -> None:
        """Record the progress of the current stage."""
        done = self._before + share * self._seconds.get(self._stage, 0.0)
        if self._observer is not None:
            self._observer(self._stage, min(1.0, done / sum(self._seconds.values())))
