"""Figures of rows of small images of tiles, each with its title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from parafovea.report.canvas import PAGE_WIDTH, SMALL, new_figure, short
from parafovea.report.palette import INK, MUTED

Array = np.ndarray[Any, Any]

#: Sizes in inches: margin, gap between panels, line of text, and space at the bottom.
MARGIN, GAP, LINE, FOOT = 0.08, 0.06, 0.17, 0.55

#: Characters in a line below a title.
_LINE_LENGTH = 126

#: Colour of pixels without value, and of text on it.
NOTHING, _ON_GREY = 0.86, "#4A4F57"

#: Maximum height of a panel relative to its width.
_TALLEST = 1.4


@dataclass(frozen=True, slots=True)
class Panel:
    """One image.

    Parameters
    ----------
    title : str
        Title above it.
    picture : (y, x) or (y, x, 3) float or None
        Values to colour, or red, green and blue in [0, 1]; None for a grey field with `words`.
    colours : (Colormap, Normalize) or None
        Colormap and normalization of values.
    words : str
        Text in place of a missing image.
    """

    title: str
    picture: Array | None
    colours: tuple[Colormap, Normalize] | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class PanelRow:
    """The images of one tile.

    Parameters
    ----------
    title : str
        Name of the tile.
    words : tuple of str
        Lines of text below the name.
    lines : tuple of tuple of Panel
        Lines of panels of equal length.
    shape : (int, int)
        Shape of the tile, (y, x).
    """

    title: str
    words: tuple[str, ...]
    lines: tuple[tuple[Panel, ...], ...]
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ColourBar:
    """A colour bar below all rows, with its label."""

    colours: tuple[Colormap, Normalize]
    label: str


def panels_figure(
    rows: Sequence[PanelRow], *, bars: Sequence[ColourBar] = (), foot: bool = False
) -> Figure:
    """Return a figure with a row for each tile.

    Parameters
    ----------
    rows : sequence of PanelRow
        Rows from top to bottom.
    bars : sequence of ColourBar
        At most two colour bars, below the rows.
    foot : bool
        Whether to reserve the space of colour bars for other content.
    """
    columns = max(len(line) for row in rows for line in row.lines)
    side = (PAGE_WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    tall = [side * min(_TALLEST, row.shape[0] / row.shape[1]) for row in rows]
    heads = [LINE * (1.3 + len(row.words)) for row in rows]
    blocks = [
        head + len(row.lines) * (LINE + high) + 2 * MARGIN
        for row, high, head in zip(rows, tall, heads, strict=True)
    ]
    height = sum(blocks) + MARGIN + (FOOT if bars or foot else 0)
    figure = new_figure(PAGE_WIDTH, height)
    top = height - MARGIN
    for row, high, head, block in zip(rows, tall, heads, blocks, strict=True):
        _heading(figure, row, top)
        below = top - head
        for line in row.lines:
            below -= LINE + high
            for column, panel in enumerate(line):
                left = MARGIN + column * (side + GAP)
                _draw(figure, panel, (left, below, side, high))
        top -= block
    for index, bar in enumerate(bars):
        _bar(figure, bar, 2 * MARGIN + index * (PAGE_WIDTH / 2), MARGIN + 0.2)
    return figure


def wrapped(parts: Sequence[str]) -> tuple[str, ...]:
    """Return parts of a text as lines that fit the width, each part in one line."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]}  ·  {part}" if lines else part
        if lines and len(joined) <= _LINE_LENGTH:
            lines[-1] = joined
        else:
            lines.append(part)
    return tuple(lines)


def no_panels(words: str) -> Figure:
    """Return a low figure with a text."""
    figure = new_figure(PAGE_WIDTH, 1.0)
    figure.text(0.5, 0.5, words, ha="center", va="center", color=MUTED, size=11)
    return figure


def _heading(figure: Figure, row: PanelRow, top: float) -> None:
    width, height = figure.get_size_inches()
    left = MARGIN / width
    figure.text(left, top / height, short(row.title, 60), va="top", weight="bold", size=9.5)
    for number, words in enumerate(row.words, start=1):
        place = (top - LINE * number - 0.03) / height
        figure.text(left, place, words, va="top", color=INK, size=SMALL)


def _draw(figure: Figure, panel: Panel, place: tuple[float, float, float, float]) -> None:
    width, height = figure.get_size_inches()
    left, below, side, high = place
    axes = figure.add_axes((left / width, below / height, side / width, high / height))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.text(
        left / width,
        (below + high + 0.03) / height,
        panel.title,
        va="bottom",
        color=MUTED,
        size=SMALL,
    )
    if panel.picture is None:
        axes.set_facecolor(str(NOTHING))
        axes.text(
            0.5,
            0.5,
            panel.words,
            ha="center",
            va="center",
            color=_ON_GREY,
            size=SMALL,
            transform=axes.transAxes,
        )
    elif panel.colours is None:
        axes.imshow(panel.picture, vmin=0, vmax=1)
    else:
        colours, norm = panel.colours
        axes.set_facecolor(str(NOTHING))
        axes.imshow(np.ma.masked_invalid(panel.picture), cmap=colours, norm=norm)


def _bar(figure: Figure, bar: ColourBar, left: float, below: float) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, below / height, 1.8 / width, 0.11 / height))
    colours, norm = bar.colours
    scale = figure.colorbar(ScalarMappable(norm, colours), cax=axes, orientation="horizontal")
    scale.outline.set_visible(False)
    axes.tick_params(length=2, labelsize=SMALL, pad=1)
    figure.text((left + 1.95) / width, (below + 0.055) / height, bar.label, va="center", size=SMALL)
