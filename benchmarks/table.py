"""The rows of the one table: what was measured, its limit, and whether it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from benchmarks.measure import Ratio

Bound = Literal["at most", "at least"]


@dataclass(frozen=True)
class Limit:
    """What a value must not exceed, or must reach.

    Parameters
    ----------
    bound : {"at most", "at least"}
        Which side is allowed.
    value : float
        The limit itself is allowed.
    """

    bound: Bound
    value: float

    def holds(self, value: float) -> bool:
        """Tell whether a value is within the limit; NaN never is."""
        return value <= self.value if self.bound == "at most" else value >= self.value


@dataclass(frozen=True)
class Row:
    """One measured number.

    Parameters
    ----------
    benchmark : str
        Name on the command line.
    what : str
        What was measured, against what.
    value : float or None
        The number; None where it was not measured, and `note` says why.
    unit : str
        "x" for a ratio, "%", or "" for a plain number.
    limit : Limit or None
        None for numbers that are only shown.
    spread : tuple of float or None
        Smallest and largest value over the rounds.
    seconds : mapping
        Seconds of each side, round by round.
    note : str
        How it was measured, where that is not obvious.
    failed : bool
        The benchmark ended in an error, and `note` says which.
    """

    benchmark: str
    what: str
    value: float | None
    unit: str = "x"
    limit: Limit | None = None
    spread: tuple[float, float] | None = None
    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    note: str = ""
    failed: bool = False

    @property
    def passed(self) -> bool | None:
        """Whether it ran and the limit holds; None where there is no limit or no value."""
        if self.failed:
            return False
        if self.limit is None or self.value is None:
            return None
        return self.limit.holds(self.value)

    def to_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return {
            "benchmark": self.benchmark,
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "limit": None if self.limit is None else {self.limit.bound: self.limit.value},
            "passed": self.passed,
            "spread": None if self.spread is None else list(self.spread),
            "seconds": {name: list(values) for name, values in self.seconds.items()},
            "note": self.note,
        }


def ratio_row(
    benchmark: str,
    what: str,
    seconds: Mapping[str, Sequence[float]],
    sides: tuple[str, str],
    *,
    limit: Limit | None = None,
    note: str = "",
) -> Row:
    """Return the row of a ratio of times.

    Parameters
    ----------
    benchmark, what : str
        As in `Row`.
    seconds : mapping
        Seconds by name, as from `measure.in_turns`.
    sides : tuple of str
        Names of what is divided and of what it is divided by.
    limit : Limit, optional
        Of the ratio.
    note : str
        As in `Row`.
    """
    ratio = Ratio.of(seconds[sides[0]], seconds[sides[1]])
    used = {name: seconds[name] for name in sides}
    return Row(
        benchmark,
        what,
        ratio.value,
        limit=limit,
        spread=ratio.spread,
        seconds=used,
        note=note,
    )


def formatted(value: float | None, unit: str) -> str:
    """Return a number with its unit, with as many digits as mean something."""
    if value is None:
        return "not run"
    if unit == "%":
        return f"{value:.1f} %" if value < 99 else f"{value:.2f} %"
    text = f"{value:.2f}" if value == 0 or 0.01 <= abs(value) < 1e5 else f"{value:.1e}"
    return f"{text} {unit}".rstrip()


def verdict(row: Row) -> str:
    """Return how a row is judged, in one word."""
    return {True: "pass", False: "FAIL", None: "shown"}[row.passed]


def render(rows: Sequence[Row], *, title: str) -> Table:
    """Return all rows as one table for the terminal; how each was measured stands below it."""
    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    caption = "\n".join(f"({number}) {note}" for number, note in enumerate(notes, start=1))
    table = Table(
        title=title, title_justify="left", caption=escape(caption), caption_justify="left"
    )
    table.add_column("benchmark", no_wrap=True)
    table.add_column("what", min_width=40)
    for name in ("measured", "spread", "limit", "result"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        mark = f" ({notes.index(row.note) + 1})" if row.note else ""
        table.add_row(row.benchmark, escape(row.what) + mark, *_cells(row))
    return table


def _cells(row: Row) -> tuple[str, str, str, str]:
    """Return the value, its spread, its limit and the verdict, as the terminal shows them."""
    spread, limit = "", ""
    if row.spread is not None:
        spread = " to ".join(formatted(value, "") for value in row.spread)
    if row.limit is not None:
        limit = f"{row.limit.bound} {formatted(row.limit.value, row.unit)}"
    colour = {True: "[green]", False: "[bold red]", None: "[dim]"}[row.passed]
    return formatted(row.value, row.unit), spread, limit, f"{colour}{verdict(row)}[/]"


def write_json(
    path: Path, rows: Sequence[Row], *, machine: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Write the table, the machine it was measured on and the settings of the run.

    Parameters
    ----------
    path : Path
        File to write; its folder is made.
    rows : sequence of Row
        The table.
    machine : mapping
        As from `machine.facts`.
    settings : mapping
        Options and model of the run.
    """
    content = {
        "format": 1,
        "machine": dict(machine),
        "settings": dict(settings),
        "rows": [row.to_dict() for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
