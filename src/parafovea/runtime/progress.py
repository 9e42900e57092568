"""Progress of long work: how far it is, as lines in a log and for whoever wants to know."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Seconds between two lines.
INTERVAL = 10.0

#: Who else wants to know how far the work at hand is, as a share.
_observer: ContextVar[Callable[[float], None] | None] = ContextVar("observer", default=None)


#: Told of how far something is: the stage at hand, and the share of all work that is done.
Observer = Callable[[str, float], None]


@contextlib.contextmanager
def observed(observer: Callable[[float], None]) -> Iterator[None]:
    """Tell a function of each step of the work that this block does: the share that is done."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def tracked(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the items, and log now and then how many are done and what time is left.

    Parameters
    ----------
    items : iterable
        The work.
    total : int
        How many there are.
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
    """Turns stages, and how far each is, into the share of all work that is done.

    Parameters
    ----------
    seconds : mapping of str to float
        What each stage is expected to take.
    observer : callable, optional
        Told of progress.
    """

    def __init__(self, seconds: Mapping[str, float], observer: Observer | None) -> None:
        # a second for what each stage takes to begin
        self._seconds = {stage: 1 + expected for stage, expected in seconds.items()}
        self._observer = observer
        self._stage = ""
        self._before = 0.0

    def begin(self, stage: str) -> None:
        """Note that a stage begins, and so that the one before is done."""
        if stage != self._stage:
            self._before += self._seconds.get(self._stage, 0.0)
            self._stage = stage
        self.within(0.0)

    def within(self, share: float) -> None:
        """Note how far the stage at hand is."""
        done = self._before + share * self._seconds.get(self._stage, 0.0)
        if self._observer is not None:
            self._observer(self._stage, min(1.0, done / sum(self._seconds.values())))
