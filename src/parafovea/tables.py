"""Tables of plain text on the terminal, which pipes and logs keep whole."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape


def print_table(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a bold head, in columns as wide as they need."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        padded = zip(row, widths, strict=True)
        line = escape("  ".join(cell.ljust(width) for cell, width in padded).rstrip())
        console.print(line if number else f"[bold]{line}[/]", highlight=False)
