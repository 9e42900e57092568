"""What the commands say: on the terminal, in columns, and where a user's mistake ends them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.markup import escape

from parafovea.errors import ParafoveaError, describe

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """End with status 1 and one message, without a traceback, at a user's mistake."""
    try:
        yield
    except ParafoveaError as error:
        errors.print(f"[bold red]error[/] {escape(describe(error))}", highlight=False)
        raise typer.Exit(1) from None


def print_table(rows: list[list[str]]) -> None:
    """Print rows under a bold head, in columns as wide as they need."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        padded = zip(row, widths, strict=True)
        line = escape("  ".join(cell.ljust(width) for cell, width in padded).rstrip())
        console.print(line if number else f"[bold]{line}[/]", highlight=False)
