"""Common style of all figures, and reproducible figure files."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib import rc_params_from_file
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from parafovea.errors import ConfigError, shown
from parafovea.report.inline_svg import inline_svg
from parafovea.report.palette import CYCLE, INK, MUTED, PAPER_WHITE, RULE

DPI = 200

#: Width of a full-width figure in inches: on a page of 800 pixels, text of 8 points is 10 pixels.
PAGE_WIDTH = 8.0

#: Smallest size of text in points.
SMALL = 8.0

#: Applied on top of matplotlib's defaults, so that a user's matplotlibrc has no effect.
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    # Names of classes and samples may contain dollar signs.
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "parafovea",
    "axes.edgecolor": RULE,
    "axes.facecolor": PAPER_WHITE,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=CYCLE),
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
}

#: What no style file changes: with another salt, or none, equal figures have other bytes, and names
#: with dollar signs would be formulas.
FIXED: dict[str, Any] = {name: STYLE[name] for name in ("svg.hashsalt", "text.parse_math")}

#: Metadata of each format that would differ between runs.
_DATED = {".svg": "Date", ".pdf": "CreationDate", ".png": "Software"}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure: a PNG file, and the same as an element of a page.

    Parameters
    ----------
    path : Path
        The file.
    title : str
        Short title, for a heading.
    caption : str
        Self-contained description of the figure.
    svg : str
        See `inline_svg`; "" if it is not for a page.
    """

    path: Path
    title: str
    caption: str
    svg: str = ""


@contextlib.contextmanager
def styled(*more: dict[str, Any]) -> Iterator[None]:
    """Apply the common style, and `more` on top; create and save figures inside."""
    with matplotlib.style.context(["default", STYLE, *more]):
        yield


def paper_style(file: Path) -> dict[str, Any]:
    """Return the style of figures for papers, to apply on top of the common one.

    Parameters
    ----------
    file : Path
        A style file of matplotlib, such as config/publication.mplstyle.

    Raises
    ------
    ConfigError
        If it cannot be read, or has a key or a value that matplotlib does not know.
    """
    complaints = _Complaints()
    logger = logging.getLogger("matplotlib")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(complaints)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # fail_on_error is about values; keys and lines are only logged
            stated = rc_params_from_file(file, fail_on_error=True, use_default_template=False)
            found: dict[str, Any] = {str(name): value for name, value in stated.items()}
            with matplotlib.style.context(found):
                pass
    except (OSError, ValueError) as error:
        raise _wrong_style(file, error) from error
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagates
    words = [*complaints.words, *(str(each.message) for each in caught)]
    if words:
        raise _wrong_style(file, words[0])
    return {**found, **FIXED}


class _Complaints(logging.Handler):
    """What matplotlib logs of a style file, for an error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of a record."""
        self.words.append(record.getMessage())


def _wrong_style(file: Path, reason: object) -> ConfigError:
    # after the line in question, matplotlib recommends a template of its own
    words = " ".join(str(reason).partition("You probably need")[0].split())
    return ConfigError(
        f"{file} is not a style of matplotlib ({shown(words)}): mend "
        "the line, or remove the file, and the style that comes with parafovea is taken"
    )


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """Return an empty figure of a size in inches, independent of any display.

    A size that the style sets comes first.
    """
    own = list(matplotlib.rcParams["figure.figsize"])
    if own != list(matplotlib.rcParamsDefault["figure.figsize"]):
        width, height = own
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
        The drawing, with the figure for a page.
    """
    words = {"Title": drawing.title, "Description": drawing.caption, "Software": None}
    figure.savefig(drawing.path, format="png", metadata=words)
    return on_page(drawing, svg_text(figure))


def svg_text(figure: Figure) -> str:
    """Return a figure as the text of an SVG file without background."""
    vectors = io.StringIO()
    figure.savefig(vectors, format="svg", metadata={"Date": None}, facecolor="none")
    return vectors.getvalue()


def on_page(drawing: Drawing, svg: str) -> Drawing:
    """Return a drawing with the text of its SVG file as an element of a page."""
    # ids are distinct within a page, and the same in every folder
    prefix = "f" + hashlib.sha256(drawing.title.encode()).hexdigest()[:6]
    label = f"{drawing.title}: {drawing.caption}"
    element = inline_svg(svg, label=label, prefix=prefix, full_width=PAGE_WIDTH)
    return dataclasses.replace(drawing, svg=element)


def save_forms(figure: Figure, files: Mapping[Path, str]) -> None:
    """Write a figure in several formats; reproducible for figures drawn in a `paper_style`.

    Parameters
    ----------
    figure : Figure
        Figure to write.
    files : mapping of Path to str
        Files to write, each with its format: .svg, .pdf or .png.
    """
    # each format would lay the figure out again, from where the one before left it
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for path, suffix in files.items():
        metadata = {_DATED[suffix]: None}
        figure.savefig(path, format=suffix.removeprefix("."), metadata=metadata)
