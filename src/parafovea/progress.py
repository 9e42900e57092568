"""Progress of long work, as lines in a log: how far, and how long it will take."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Seconds between two lines.
INTERVAL = 10.0

#: Who else wants to know how far the work at hand is, as a share.
_observer: ContextVar[Callable[[float], None] | None] = ContextVar("observer", default=None)


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
