"""Provenance records of results, and the time that they state."""

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
        Name of the stage.
    **facts
        Settings, hashes, and the records of the inputs.
    """
    return {"stage": stage, "version": __version__, **facts}


def lineage(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of an input's record that are passed on to results.

    Parameters
    ----------
    attributes : mapping
        Record of the input.
    """
    kept = ("source", "normalization", "features", "context", "model", "inference", "degraded")
    return {name: attributes[name] for name in kept if name in attributes}


#: Time stated by reproducible results.
NO_TIME = "1970-01-01T00:00:00Z"

#: Environment variable with the seconds since 1970 to state instead: https://reproducible-builds.org/specs/source-date-epoch/
VARIABLE = "SOURCE_DATE_EPOCH"


def stated_time() -> str:
    """Return the time that results state: that of `VARIABLE`, otherwise `NO_TIME`.

    It depends neither on the clock nor on file times, so that a rerun gives the same bytes. To
    state the time of the run, set the variable (``SOURCE_DATE_EPOCH=$(date +%s)``).

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
    """Return the current time; None if `VARIABLE` is set, for reproducible results."""
    return None if os.environ.get(VARIABLE, "").strip() else _text(datetime.now(UTC))


@dataclass(frozen=True)
class Clock:
    """Time of a run, for results that state it and therefore differ between runs.

    Parameters
    ----------
    timestamp : str
        Start of the run in UTC, such as "2026-01-31T12:00:00Z".
    seconds : callable
        Returns the seconds since then.
    """

    timestamp: str
    seconds: Callable[[], float]

    @classmethod
    def started(cls) -> Clock | None:
        """Return a clock that starts now; None if `VARIABLE` is set, for reproducible results."""
        begin, now = time.perf_counter(), current_time()
        return None if now is None else cls(now, lambda: time.perf_counter() - begin)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
