"""What made a result, and when: the record that every array and table carries."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from parafovea import __version__
from parafovea.errors import ConfigError


def record(stage: str, **facts: Any) -> dict[str, Any]:
    """Return the provenance of one stage's output.

    Parameters
    ----------
    stage : str
        Name of the stage (rule, script and module).
    **facts
        Settings that mattered, hashes, and the records of what went in.
    """
    return {"stage": stage, "version": __version__, **facts}


def lineage(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of an input's record that its results keep.

    Parameters
    ----------
    attributes : mapping
        The input's own record.
    """
    kept = ("source", "normalization", "features", "context", "model", "inference", "degraded")
    return {name: attributes[name] for name in kept if name in attributes}


#: The time of results that must not depend on the day of the run.
NO_TIME = "1970-01-01T00:00:00Z"

#: Variable with the seconds since 1970 that results get instead: https://reproducible-builds.org/specs/source-date-epoch/
VARIABLE = "SOURCE_DATE_EPOCH"


def stated_time() -> str:
    """Return the time of the workflow's results: that of `VARIABLE`, else `NO_TIME`.

    It depends neither on the clock nor on the time of a file: a rerun, on any day and any copy of
    the data, gives the same bytes. To have the day of the run in the files, set the variable
    (``SOURCE_DATE_EPOCH=$(date +%s)``).

    Raises
    ------
    ConfigError
        If the variable is not a number of seconds.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return NO_TIME
    try:
        moment = datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(
            f"{VARIABLE} is {text!r}, which is not a number of seconds since 1970: set it with "
            "`date +%s`, or unset it"
        ) from error
    return _text(moment)


def current_time() -> str | None:
    """Return the time of the clock; None where `VARIABLE` is set, to make results reproducible."""
    return None if os.environ.get(VARIABLE, "").strip() else _text(datetime.now(UTC))


@dataclass(frozen=True)
class Clock:
    """The time of a run, for results that state it and so differ from one run to the next.

    Parameters
    ----------
    timestamp : str
        When the run began, UTC, such as "2026-01-31T12:00:00Z".
    seconds : callable
        Returns how many seconds ago that was.
    """

    timestamp: str
    seconds: Callable[[], float]

    @classmethod
    def started(cls) -> Clock | None:
        """Return a clock that starts now; None where `VARIABLE` asks for reproducible bytes."""
        begin, now = time.perf_counter(), current_time()
        return None if now is None else cls(now, lambda: time.perf_counter() - begin)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
