"""Terminal output of the commands: tables and readable errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from parafovea.errors import ParafoveaError, describe
from parafovea.runtime.library_logs import quiet_libraries

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)


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
def readable_errors() -> Iterator[None]:
    """Exit with status 1 and a message instead of a traceback at a `ParafoveaError`.

    Messages of libraries do not reach the terminal.
    """
    quiet_libraries()
    try:
        yield
    except ParafoveaError as error:
        errors.print(f"[bold red]error[/] {escape(describe(error))}", highlight=False)
        raise typer.Exit(1) from None


def print_table(rows: list[list[str]]) -> None:
    """Print rows under a bold header, in columns of sufficient width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        padded = zip(row, widths, strict=True)
        line = escape("  ".join(cell.ljust(width) for cell, width in padded).rstrip())
        console.print(line if number else f"[bold]{line}[/]", highlight=False)
