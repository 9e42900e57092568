"""Figures of tables of measured values, such as those of docs/figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from parafovea.errors import TableError
from parafovea.quality.detections.detector_score import evaluate_detections
from parafovea.quality.detections.tables import read_candidates, read_findings
from parafovea.report import overlap_figure, window_figure
from parafovea.report.context_study_figure import draw_study, overlaps
from parafovea.report.detections.froc_plot import draw_froc_by_diameter
from parafovea.report.feature_study_figure import draw_features
from parafovea.report.tiles.month_figure import DEGRADED, MEASURES, draw_months, kinds_of

#: Draws tables to files with their formats, in a style, with options of its own.
Drawing = Callable[..., None]


def read_measured(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table of measured values.

    Parameters
    ----------
    path : Path
        TSV with a header.
    columns : sequence of str
        Columns that it must have.

    Raises
    ------
    TableError
        If it cannot be read, has no rows, or lacks a column.
    """
    try:
        table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read as a table with tabs ({error})") from error
    if missing := [name for name in columns if name not in table.columns]:
        raise TableError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has "
            f"{', '.join(map(str, table.columns))}: docs/paper_figures.md names the command that "
            "measures it"
        )
    if table.empty:
        raise TableError(f"{path} has no rows: docs/paper_figures.md names the command to measure")
    return table


def _context_study(
    tables: Sequence[Path], files: Mapping[Path, str], *, style: Path, ratio: int
) -> None:
    scores = read_measured(tables[0], ("fusion", "ratio", "seed", "metric", "value"))
    draw_study(overlaps(scores), files, ratio=ratio, style=style)


def _feature_study(
    tables: Sequence[Path], files: Mapping[Path, str], *, style: Path, metrics: Sequence[str]
) -> None:
    scores = read_measured(tables[0], ("features", "context", "seed", "metric", "value"))
    draw_features(scores, files, metrics=metrics, style=style)


def _windows(tables: Sequence[Path], files: Mapping[Path, str], *, style: Path) -> None:
    table = read_measured(tables[0], window_figure.COLUMNS)
    window_figure.draw_windows(table, files, style=style)


def _overlaps(tables: Sequence[Path], files: Mapping[Path, str], *, style: Path) -> None:
    table = read_measured(tables[0], overlap_figure.COLUMNS)
    overlap_figure.draw_overlaps(table, files, style=style)


def _months(
    tables: Sequence[Path], files: Mapping[Path, str], *, style: Path, labels: Mapping[str, str]
) -> None:
    table = read_measured(tables[0], ("month", f"psnr.{DEGRADED}"))
    wanted = [f"{each.name}.{kind}" for each in MEASURES for kind in kinds_of(table)]
    draw_months(read_measured(tables[0], wanted), files, style=style, labels=labels)


def _froc(tables: Sequence[Path], files: Mapping[Path, str], *, style: Path) -> None:
    candidates, findings = tables
    score = evaluate_detections(read_candidates(candidates), read_findings(findings))
    draw_froc_by_diameter(score, files, style=style)


DRAWINGS: Mapping[str, Drawing] = {
    "context_study": _context_study,
    "feature_study": _feature_study,
    "windows": _windows,
    "overlaps": _overlaps,
    "months": _months,
    "froc": _froc,
}


def draw_tables(
    drawing: str,
    tables: Sequence[Path],
    files: Mapping[Path, str],
    *,
    style: Path,
    options: Mapping[str, Any],
) -> None:
    """Draw tables of measured values.

    Parameters
    ----------
    drawing : str
        Name in `DRAWINGS`.
    tables : sequence of Path
        Tables that the drawing reads.
    files : mapping of Path to str
        Files to write with their formats: .svg, .pdf or .png. Equal tables give equal bytes.
    style : Path
        Style file of figures for papers.
    options : mapping of str to any
        Keyword arguments of the drawing.

    Raises
    ------
    TableError
        If a table cannot be read or lacks a column.
    ConfigError
        If the style is invalid.
    """
    DRAWINGS[drawing](tables, files, style=style, **options)
