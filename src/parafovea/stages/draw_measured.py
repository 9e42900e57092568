"""Stage draw_measured: a figure of the documentation, from the table of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from parafovea.report.measured_figures import draw_tables
from parafovea.storage.store import replacing


def draw_measured(
    tables: Sequence[Path],
    style: Path,
    svg: Path,
    pdf: Path,
    png: Path,
    *,
    drawing: str,
    options: Mapping[str, Any],
) -> None:
    """Draw a figure, in all of its formats or in none.

    Parameters
    ----------
    tables : sequence of Path
        Tables of the figure.
    style : Path
        Style file of figures for papers.
    svg, pdf, png : Path
        Figures to write.
    drawing : str
        Name of the drawing in `parafovea.report.measured_figures`.
    options : mapping of str to any
        Its options.

    Raises
    ------
    TableError
        If a table cannot be read or lacks a column.
    ConfigError
        If the style is invalid.
    """
    with ExitStack() as stack:
        files = {stack.enter_context(replacing(path)): path.suffix for path in (svg, pdf, png)}
        draw_tables(drawing, tables, files, style=style, options=options)
