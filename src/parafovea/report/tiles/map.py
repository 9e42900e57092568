"""Map of the tiles of a folder, coloured by error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.report.canvas import PAGE_WIDTH, Drawing, new_figure, save, short
from parafovea.report.palette import INK
from parafovea.report.tiles.panels import no_panels
from parafovea.report.units import counted

#: Maximum number of coordinate systems with a panel, those with most tiles first.
MOST_PANELS = 3

#: Above this number of tiles, a map on a page holds them as an image.
_MOST_SHAPES = 500

#: Minimum size of a tile's marker in points, since a tile of a wide map is below a pixel.
_LEAST = 4.0


def draw_map(
    entries: Sequence[TileEntry],
    errors: pd.Series[float],
    path: Path,
    *,
    label: str,
    higher_is_worse: bool = True,
) -> Drawing:
    """Draw the positions of tiles, coloured by a value.

    Parameters
    ----------
    entries : sequence of TileEntry
        All finished tiles.
    errors : Series
        Value by name; NaN if undefined.
    path : Path
        PNG file to write, with a note if no tile has a position.
    label : str
        Name of the value.
    higher_is_worse : bool
        Whether large values are the worst, which get the bright end of the colours.

    Returns
    -------
    Drawing
        File, title and caption. Draw within `canvas.styled`.
    """
    systems: dict[str, list[TileEntry]] = {}
    for entry in entries:
        if entry.position is not None:
            systems.setdefault(entry.position.crs, []).append(entry)
    title = "Map of the tiles"
    if not systems:
        words = "No tile has a known position, so there is no map."
        return save(no_panels("no tile has a known position"), Drawing(path, title, words))
    shown = sorted(systems, key=lambda crs: (-len(systems[crs]), crs))[:MOST_PANELS]
    placed = sum(map(len, systems.values()))
    figure = map_figure(
        {crs: systems[crs] for crs in shown}, errors, label=label, higher_is_worse=higher_is_worse
    )
    caption = f"Positions of {counted(placed, 'tile')}, coloured by their {label}; "
    caption += "the worst are drawn last."
    if errors.isna().any():
        caption += " Tiles with an undefined value are empty frames."
    if placed < len(entries):
        caption += f" {len(entries) - placed:,} more have no known position."
    if len(systems) > len(shown):
        left = len(systems) - len(shown)
        verb = "is" if left == 1 else "are"
        caption += f" {counted(left, 'more coordinate system')} {verb} not drawn."
    return save(figure, Drawing(path, title, caption))


def map_figure(
    systems: Mapping[str, Sequence[TileEntry]],
    errors: pd.Series[float],
    *,
    label: str,
    higher_is_worse: bool = True,
) -> Figure:
    """Draw a map for each coordinate system; see `draw_map`."""
    known = errors[np.isfinite(errors)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    norm = Normalize(low, high if high > low else low + 1e-3)
    bar = ScalarMappable(norm, mpl.colormaps["viridis" if higher_is_worse else "viridis_r"])
    figure = new_figure(PAGE_WIDTH, 4.4, layout="compressed")
    panels = figure.subplots(1, len(systems), squeeze=False)[0]
    for axes, (crs, entries) in zip(panels, systems.items(), strict=True):
        _panel(axes, entries, errors, bar)
        axes.set_title(f"{short(crs)} · {counted(len(entries), 'tile')}", loc="left")
    if len(known):
        words = label.partition(" against")[0]
        figure.colorbar(bar, ax=list(panels), shrink=0.7, pad=0.01, label=words)
    return figure


def _panel(
    axes: Axes, entries: Sequence[TileEntry], errors: pd.Series[float], colours: ScalarMappable
) -> None:
    norm = colours.norm
    values = np.array([float(errors.get(entry.name, math.nan)) for entry in entries])
    # the worst end is bright
    bright = norm(values) if colours.cmap.name == "viridis" else -np.asarray(norm(values))
    order = np.argsort(np.nan_to_num(np.asarray(bright, float), nan=-np.inf), kind="stable")
    boxes, centres = [], []
    for index in order:
        entry, place = entries[index], entries[index].position
        if place is None:
            continue
        wide, tall = entry.width * place.pixel_size, entry.height * place.pixel_size
        boxes.append(Rectangle((place.x, place.y - tall), wide, tall))
        centres.append((place.x + wide / 2, place.y - tall / 2))
    sorted_values = values[order]
    faces = colours.to_rgba(np.nan_to_num(sorted_values, nan=0.0))
    faces[~np.isfinite(sorted_values)] = (1, 1, 1, 0)
    frames = np.where(np.isfinite(sorted_values)[:, None], faces, mpl.colors.to_rgba(INK))
    across, down = np.array(centres).T
    # first as a marker, to be visible, then in its true size
    axes.scatter(
        across,
        down,
        s=_LEAST**2,
        c=faces,
        edgecolors=[tuple(each) for each in frames],
        marker="s",
        linewidths=0.5,
        rasterized=len(boxes) > _MOST_SHAPES,
    )
    places = PatchCollection(boxes, facecolor=faces, edgecolor=frames, linewidth=0.5, zorder=2)
    places.set_rasterized(len(boxes) > _MOST_SHAPES)
    axes.add_collection(places)
    _frame(axes, boxes, degrees=_in_degrees(entries))


def _in_degrees(entries: Sequence[TileEntry]) -> bool:
    """Return whether positions are degrees: no projected system has pixels below 0.1 m."""
    sizes = [entry.position.pixel_size for entry in entries if entry.position is not None]
    return max(sizes) < 0.1


def _frame(axes: Axes, boxes: Sequence[Rectangle], *, degrees: bool) -> None:
    left, right = min(b.get_x() for b in boxes), max(b.get_x() + b.get_width() for b in boxes)
    low, high = min(b.get_y() for b in boxes), max(b.get_y() + b.get_height() for b in boxes)
    # tiles in a line need a frame with an area
    margin = 0.05 * max(right - left, high - low)
    axes.set_xlim(left - margin, right + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.locator_params(nbins=5)
    if degrees:
        axes.set_aspect(1 / max(math.cos(math.radians((low + high) / 2)), 0.05))
        axes.set_xlabel("longitude (°)")
        axes.set_ylabel("latitude (°)")
        return
    axes.set_aspect("equal")
    kilometres = FuncFormatter(lambda value, _: f"{value / 1000:,.6g}")
    axes.xaxis.set_major_formatter(kilometres)
    axes.yaxis.set_major_formatter(kilometres)
    axes.set_xlabel("easting (km)")
    axes.set_ylabel("northing (km)")
