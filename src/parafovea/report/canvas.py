"""Common style of all figures, and reproducible figure files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from parafovea.errors import StoreError

DPI = 150

#: Width of a full-width figure in inches.
PAGE_WIDTH = 11.5

INK, MUTED, RULE = "#1F2933", "#5B6673", "#D5DAE1"

#: Applied on top of matplotlib's defaults, so that a user's matplotlibrc has no effect.
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    # Names of classes and samples may contain dollar signs.
    "text.parse_math": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
}

#: Additional style of vector figures: text as outlines and fixed identifiers, for reproducible
#: files.
PAPER: dict[str, Any] = {"svg.fonttype": "path", "svg.hashsalt": "parafovea", "pdf.fonttype": 42}

#: Metadata of each format that would differ between runs.
_DATED = {".svg": "Date", ".pdf": "CreationDate", ".png": "Software"}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A PNG file with its title and caption.

    Parameters
    ----------
    path : Path
        The file.
    title : str
        Short title, for a heading.
    caption : str
        Self-contained description of the figure.
    """

    path: Path
    title: str
    caption: str


@contextlib.contextmanager
def styled(*more: dict[str, Any]) -> Iterator[None]:
    """Apply the common style, and `more` on top; create and save figures inside."""
    with matplotlib.style.context(["default", STYLE, *more]):
        yield


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """Return an empty figure of a size in inches, independent of any display."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def short(text: str, length: int = 28) -> str:
    """Return a text as one line, truncated to a length, for labels."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def save(figure: Figure, drawing: Drawing) -> Drawing:
    """Write a figure as PNG with its title and caption, without date and software.

    Parameters
    ----------
    figure : Figure
        Figure to write.
    drawing : Drawing
        Path, title and caption.

    Returns
    -------
    Drawing
        The drawing.
    """
    words = {"Title": drawing.title, "Description": drawing.caption, "Software": None}
    figure.savefig(drawing.path, format="png", metadata=words)
    return drawing


def save_forms(figure: Figure, files: Mapping[Path, str]) -> None:
    """Write a figure in several formats; reproducible for figures drawn in the style `PAPER`.

    Parameters
    ----------
    figure : Figure
        Figure to write.
    files : mapping of Path to str
        Files to write, each with its format: .svg, .pdf or .png.
    """
    for path, suffix in files.items():
        metadata = {_DATED[suffix]: None}
        figure.savefig(path, format=suffix.removeprefix("."), metadata=metadata)


def open_drawing(path: Path) -> Drawing:
    """Return a PNG file written by `save`, with its title and caption.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Drawing
        The drawing; its title is the file's name if the file has none.

    Raises
    ------
    StoreError
        If it is missing or not a PNG.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            words = {key: str(value) for key, value in image.info.items()}
    except OSError as error:
        raise StoreError(f"{path} is not a figure of a report: run the report again") from error
    return Drawing(path, words.get("Title", path.stem), words.get("Description", ""))
