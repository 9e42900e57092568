"""What a run in one process tells of itself: the stage at hand, and the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from parafovea.timestamps import current_time

#: Told of each stage when it begins.
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Clock:
    """What results say of the time of a run; they are other bytes in the next run then.

    Parameters
    ----------
    timestamp : str
        When the run began, UTC, such as "2026-01-31T12:00:00Z".
    seconds : callable
        Returns how long ago that was.
    """

    timestamp: str
    seconds: Callable[[], float]

    @classmethod
    def started(cls) -> Clock | None:
        """Return a clock that starts now; None where the same bytes are asked for."""
        begin, now = time.perf_counter(), current_time()
        return None if now is None else cls(now, lambda: time.perf_counter() - begin)


def silent(stage: str) -> None:
    """Tell nobody."""
