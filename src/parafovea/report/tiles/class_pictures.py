"""Figures of segmented tiles, worst first, and of their confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.formats.tiles.npz import UNKNOWN
from parafovea.quality.tiles.tile_arrays import TileFiles, read_truth
from parafovea.report.canvas import SMALL, Drawing, new_figure, save, short
from parafovea.report.tiles.panels import (
    NOTHING,
    Panel,
    PanelRow,
    no_panels,
    panels_figure,
    wrapped,
)
from parafovea.report.tiles.stretch import (
    COLOURS,
    STRETCH,
    grey,
    natural,
    stretch_of,
    stretch_words,
)
from parafovea.report.units import counted
from parafovea.storage.class_colours import class_colours

Array = np.ndarray[Any, Any]

#: Colours of pixels that agree and that do not; the first one is not the page's colour of rules.
_AGREES, _DIFFERS = "#D4D9E0", "#EE3377"


def draw_segmented(
    entries: Sequence[TileEntry],
    scores: pd.DataFrame,
    path: Path,
    *,
    classes: Sequence[str],
    files: TileFiles,
) -> Drawing:
    """Draw tiles with their classes, the truth and the agreement, in the given order.

    Parameters
    ----------
    entries : sequence of TileEntry
        Tiles to draw; only their files are read.
    scores : DataFrame
        Rows of `tile_quality.tsv`, by name.
    path : Path
        PNG file to write, with a note if there are no tiles.
    classes : sequence of str
        All class names, the background first.
    files : TileFiles
        Reader of the tiles.

    Returns
    -------
    Drawing
        File, title and caption. Draw within `canvas.styled`.
    """
    title = "Tiles and their classes"
    if not entries:
        words = "No tile was segmented."
        return save(no_panels("no tile was segmented"), Drawing(path, title, words))
    colours = class_colours(len(classes))
    rows = [
        _row(entry, dict(scores.loc[[entry.name]].iloc[0]), colours, files) for entry in entries
    ]
    figure = panels_figure(rows, foot=True)
    keys = [Patch(color=c, label=short(n)) for n, c in zip(classes, colours, strict=True)]
    if files.truth is not None:
        keys += [Patch(color=_AGREES, label="agree"), Patch(color=_DIFFERS, label="differ")]
    figure.legend(handles=keys, loc="lower left", ncols=min(len(keys), 6), handlelength=1)
    worst = " with the smallest IoU, worst first" if files.truth is not None else ""
    caption = (
        f"The {counted(len(entries), 'tile')}{worst}. RGB is B04, B03 and B02 of the input, "
        f"stretched from its {STRETCH[0]}nd to its {STRETCH[1]}th percentile. Grey pixels have no "
        "value or no known class."
    )
    return save(figure, Drawing(path, title, caption))


def _row(
    entry: TileEntry, score: Mapping[Any, Any], colours: Sequence[str], files: TileFiles
) -> PanelRow:
    source = files.read_input(entry)
    found = files.read_classes(entry)
    stretch = stretch_of(source)
    optical = files.optical
    panels = [
        Panel("RGB" if optical else "VV", input_picture(source, files)),
        Panel("classes", painted(found, colours)),
    ]
    words = [f"{entry.height} × {entry.width} pixels"]
    if optical:
        words.append(f"stretch: {stretch_words(stretch, COLOURS)}")
    lines = wrapped(words)
    if files.truth is not None:
        true, _ = read_truth(files.read_class_truth, entry)
        if true is None:
            panels += [Panel("truth", None, words="no truth")] * 2
        else:
            panels.append(Panel("truth", painted(true, colours)))
            panels.append(Panel("agreement", _agreement(found, true)))
            lines = (*wrapped(_numbers(score)), *lines)
    return PanelRow(entry.name, lines, (tuple(panels),), (entry.height, entry.width))


def input_picture(source: Array, files: TileFiles) -> Array:
    """Return the input of a tile, (band, y, x), as a picture: in natural colours if it has them."""
    stretch = stretch_of(source)
    return natural(source, stretch) if files.optical else grey(source, stretch, 0)


def painted(labels: Array, colours: Sequence[str]) -> Array:
    """Return class indices, (y, x), in their colours, (y, x, 3) in [0, 1]."""
    table = np.array([*map(to_rgb, colours), (NOTHING,) * 3])
    return table[np.minimum(labels, len(colours))]


def _agreement(found: Array, true: Array) -> Array:
    table = np.array([to_rgb(_AGREES), to_rgb(_DIFFERS), (NOTHING,) * 3])
    unknown = (true == UNKNOWN) | (found == UNKNOWN)
    return table[np.where(unknown, 2, found != true)]


def _numbers(score: Mapping[Any, Any]) -> list[str]:
    named = [(n, float(v)) for n, v in score.items() if str(n).split(".")[0] == "iou"]
    known = [f"{_short_name(str(n))} {v:.3f}" for n, v in named if not math.isnan(v)]
    return known or ["no pixel has a known class"]


def _short_name(column: str) -> str:
    return "IoU" if column == "iou" else short(column.removeprefix("iou."), 20)


def draw_confusion(
    confusion: Sequence[Sequence[int]] | None, path: Path, *, classes: Sequence[str]
) -> Drawing:
    """Draw the confusion matrix.

    Parameters
    ----------
    confusion : nested sequence of int or None
        Pixels by true class (rows) and predicted class (columns); None or zeros without truth.
    path : Path
        PNG file to write, with a note if there is no truth.
    classes : sequence of str
        All class names, the background first.

    Returns
    -------
    Drawing
        File, title and caption. Draw within `canvas.styled`.
    """
    title = "Confusion of the classes"
    counts = np.asarray(confusion if confusion is not None else np.zeros((1, 1)), float)
    if not counts.any():
        words = "No pixel has a true class to compare with."
        return save(no_panels("no truth to compare with"), Drawing(path, title, words))
    true = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, true, out=np.full(counts.shape, np.nan), where=true > 0)
    side = max(3.2, 0.62 * len(classes) + 1.4)
    figure = new_figure(side + 1.6, side, layout="constrained")
    axes = figure.subplots()
    mesh = axes.imshow(np.ma.masked_invalid(shares), cmap=mpl.colormaps["Blues"], vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        if np.isfinite(shares[row, column]):
            dark = shares[row, column] > 0.55
            axes.text(
                column,
                row,
                f"{shares[row, column]:.1%}",
                ha="center",
                va="center",
                size=SMALL,
                color="white" if dark else "black",
            )
    names = [short(name, 16) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("found")
    axes.set_ylabel("true")
    axes.spines[:].set_visible(False)
    figure.colorbar(mesh, ax=axes, shrink=0.7, label="share of the true class")
    caption = (
        f"{int(counts.sum()):,} pixels with a known class: a row is a true class, a cell the share "
        "of its pixels predicted as the class of the column. Classes without true pixels are empty."
    )
    return save(figure, Drawing(path, title, caption))
