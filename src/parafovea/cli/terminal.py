"""Terminal output of the commands: tables and readable errors."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from parafovea.errors import ParafoveaError, describe, escaped, shown
from parafovea.runtime.library_logs import quiet_libraries
from parafovea.runtime.optional_packages import extras_named
from parafovea.runtime.runs import readable_storage


class Terminal(Console):
    """A console on which texts, such as names of files, cannot contain commands of a terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects; control characters in texts are escaped."""
        super().print(*(escaped(o) if isinstance(o, str) else o for o in objects), **options)


console = Terminal(soft_wrap=True)
errors = Terminal(stderr=True, soft_wrap=True)


#: From this number of items on, their progress is shown.
MANY = 10


def followed(items: Sequence[str], what: str) -> Iterator[str]:
    """Yield items, and show the progress if there are many; only on a terminal.

    Parameters
    ----------
    items : sequence of str
        Items of work.
    what : str
        Words beside the bar, which is removed at the end.
    """
    shown = errors.is_terminal and len(items) >= MANY
    yield from track(items, what, console=errors, transient=True, disable=not shown)


@contextlib.contextmanager
def readable_errors(*outputs: str | Path | None) -> Iterator[None]:
    """Exit with status 1 and a message instead of a traceback at a `ParafoveaError`.

    So too if the disk is full or refuses an output. Messages of libraries do not reach the
    terminal.

    Parameters
    ----------
    *outputs : str, Path or None
        What the command writes; None is left out.
    """
    quiet_libraries()
    try:
        with (
            readable_storage(*(output for output in outputs if output is not None)),
            extras_named(),
        ):
            yield
    except ParafoveaError as error:
        errors.print(f"[bold red]error[/] {escape(describe(error))}", highlight=False)
        raise typer.Exit(1) from None
    except MemoryError as error:
        text = f"this needs more memory than there is ({shown(str(error)) or 'no details'}): "
        fix = "use a machine with more, or make the input smaller"
        errors.print(f"[bold red]error[/] {escape(text + fix)}", highlight=False)
        raise typer.Exit(1) from None


def finite(number: float | None) -> float | None:
    """Return a number of an option, or raise `BadParameter` for NaN and infinity."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number")
    return number


def print_table(rows: list[list[str]]) -> None:
    """Print rows under a bold header, in columns of sufficient width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        padded = zip(row, widths, strict=True)
        line = escape("  ".join(cell.ljust(width) for cell, width in padded).rstrip())
        console.print(line if number else f"[bold]{line}[/]", highlight=False)
