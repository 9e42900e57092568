"""Terminal output of the commands: tables and readable errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.markup import escape

from parafovea.errors import ParafoveaError, describe
from parafovea.runtime.library_logs import quiet_libraries

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)


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
