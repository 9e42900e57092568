"""One look for all figures, and PNG files that do not change from run to run."""

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

#: Inches of a figure of a page's full width.
PAGE_WIDTH = 11.5

INK, MUTED, RULE = "#1F2933", "#5B6673", "#D5DAE1"

#: On top of matplotlib's own defaults, so that a user's matplotlibrc changes nothing.
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    # Names of classes and samples may hold dollars.
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

#: On top of it, for figures of vectors: text as outlines and fixed identifiers, so that files
#: come out the same.
PAPER: dict[str, Any] = {"svg.fonttype": "path", "svg.hashsalt": "parafovea", "pdf.fonttype": 42}

#: The entry of each format that would change from run to run.
_DATED = {".svg": "Date", ".pdf": "CreationDate", ".png": "Software"}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A PNG file with its words.

    Parameters
    ----------
    path : Path
        The file.
    title : str
        A few words, for a heading.
    caption : str
        What is shown and how, for a reader who has nothing else.
    """

    path: Path
    title: str
    caption: str


@contextlib.contextmanager
def styled(*more: dict[str, Any]) -> Iterator[None]:
    """Draw in the one look, with `more` on top; figures must be made and saved inside."""
    with matplotlib.style.context(["default", STYLE, *more]):
        yield


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """Return an empty figure of a size in inches, bound to no screen."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def short(text: str, length: int = 28) -> str:
    """Return a text cut to a length, on one line, for labels in a figure."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def save(figure: Figure, drawing: Drawing) -> Drawing:
    """Write a figure as PNG; title and caption travel in the file, date and software do not.

    Parameters
    ----------
    figure : Figure
        What to write.
    drawing : Drawing
        Where to, and with which words.

    Returns
    -------
    Drawing
        The same.
    """
    words = {"Title": drawing.title, "Description": drawing.caption, "Software": None}
    figure.savefig(drawing.path, format="png", metadata=words)
    return drawing


def save_forms(figure: Figure, files: Mapping[Path, str]) -> None:
    """Write a figure in several formats; the same figure drawn under `PAPER`, the same bytes.

    Parameters
    ----------
    figure : Figure
        What to write.
    files : mapping of Path to str
        Files to write, each with its format: .svg, .pdf or .png.
    """
    for path, suffix in files.items():
        metadata = {_DATED[suffix]: None}
        figure.savefig(path, format=suffix.removeprefix("."), metadata=metadata)


def open_drawing(path: Path) -> Drawing:
    """Return a PNG file that `save` wrote, with its words.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Drawing
        Its title is the file's name where the file has none.

    Raises
    ------
    StoreError
        If it is missing or no PNG.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            words = {key: str(value) for key, value in image.info.items()}
    except OSError as error:
        raise StoreError(f"{path} is not a figure of a report: run the report again") from error
    return Drawing(path, words.get("Title", path.stem), words.get("Description", ""))
