"""NDVI of all tiles: before against after and truth, and the distribution of differences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.tiles.image_metrics import ndvi
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.report.canvas import PAGE_WIDTH, Drawing, new_figure, save
from parafovea.report.palette import INK, MUTED
from parafovea.report.tiles.band_pictures import RefinedTile
from parafovea.report.tiles.panels import no_panels
from parafovea.report.units import counted, power_text
from parafovea.runtime.progress import tracked
from parafovea.storage.class_colours import OKABE_ITO

Array = np.ndarray[Any, Any]

#: Number of bins per axis of an NDVI pair, from -1 to 1, and of a difference, from -2 to 2.
_BINS, _STEPS = 200, 800

#: Share of the differences beyond each end of the histogram's axis.
_TAIL = 0.002

PAIRS = (("before", "after"), ("truth", "before"), ("truth", "after"))


@dataclass(slots=True)
class NdviCounts:
    """Joint histogram of NDVI pairs, accumulated over tiles in constant memory."""

    joint: Array = field(default_factory=lambda: np.zeros((_BINS, _BINS), np.int64))
    differences: Array = field(default_factory=lambda: np.zeros(_STEPS, np.int64))
    squares: float = 0.0
    total: float = 0.0
    pixels: int = 0

    def add(self, first: Array, second: Array) -> None:
        """Add the pixels of a tile where both are defined."""
        known = np.isfinite(first) & np.isfinite(second)
        x, y = first[known], second[known]
        self.joint += np.histogram2d(x, y, _BINS, [[-1, 1], [-1, 1]])[0].astype(np.int64)
        self.differences += np.histogram(y - x, _STEPS, (-2, 2))[0]
        self.squares += float(np.square(y - x).sum())
        self.total += float((y - x).sum())
        self.pixels += x.size

    @property
    def words(self) -> str:
        """RMSE and bias as text."""
        error, bias = math.sqrt(self.squares / self.pixels), self.total / self.pixels
        return f"RMSE {error:.3f}, bias {bias:+z.3f}".replace("-", "\N{MINUS SIGN}")


def count_ndvi(entries: Sequence[TileEntry], files: TileFiles) -> dict[tuple[str, str], NdviCounts]:
    """Return the histograms of the available `PAIRS`, reading tile by tile."""
    counts: dict[tuple[str, str], NdviCounts] = {}
    for entry in tracked(entries, len(entries), "tiles"):
        tile = RefinedTile.read(entry, files)
        images = {"before": tile.optical_source, "after": tile.refined, "truth": tile.truth}
        maps = {name: ndvi(image) for name, image in images.items() if image is not None}
        for pair in PAIRS:
            if pair[0] in maps and pair[1] in maps:
                counts.setdefault(pair, NdviCounts()).add(maps[pair[0]], maps[pair[1]])
    return {pair: own for pair, own in counts.items() if own.pixels}


def draw_ndvi(entries: Sequence[TileEntry], path: Path, *, files: TileFiles, most: int) -> Drawing:
    """Draw the change of the pixels' NDVI.

    Parameters
    ----------
    entries : sequence of TileEntry
        All finished tiles.
    path : Path
        PNG file to write, with a note if nothing can be compared.
    files : TileFiles
        Reader of the tiles.
    most : int
        Maximum number of tiles to read, evenly spaced over `entries`.

    Returns
    -------
    Drawing
        File, title and caption. Draw within `canvas.styled`.
    """
    chosen = evenly_spaced(entries, most)
    counts = count_ndvi(chosen, files)
    title = "NDVI of the pixels"
    if not counts:
        words = "No tile has an NDVI to compare with."
        return save(no_panels("no NDVI to compare with"), Drawing(path, title, words))
    figure = new_figure(PAGE_WIDTH, 5.0, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[2.9, 2.1], squeeze=False)[:, 0]
    for part in (above, below):
        part.set_facecolor("none")
    span = _span(counts.values())
    panels = above.subplots(1, 3)
    for axes in panels[len(counts) :]:
        axes.set_axis_off()
    peak = max(int(own.joint.max()) for own in counts.values())
    mesh = None
    for axes, (pair, own) in zip(panels, counts.items(), strict=False):
        mesh = _joint(axes, pair, own, span, peak)
    # matplotlib writes powers as math text, which the style disables
    powers = FuncFormatter(lambda value, _: power_text(round(math.log10(value))))
    above.colorbar(mesh, ax=list(panels), shrink=0.75, pad=0.01, label="pixels", format=powers)
    _differences(below.subplots(), counts)
    pixels = max(own.pixels for own in counts.values())
    part = "" if len(chosen) == len(entries) else f", evenly spaced over all {len(entries):,}"
    caption = (
        f"NDVI of {pixels:,} pixels of {counted(len(chosen), 'tile')}{part}. Top: joint histogram "
        "on a logarithmic scale; the line marks equal NDVI. Bottom: differences as shares of the "
        f"pixels; the axis omits at most {_TAIL:.1%} at each end."
    )
    return save(figure, Drawing(path, title, caption))


def evenly_spaced(entries: Sequence[TileEntry], most: int) -> Sequence[TileEntry]:
    """Return a number of evenly spaced tiles, including the first and the last."""
    if len(entries) <= most:
        return entries
    places = np.linspace(0, len(entries) - 1, most).round().astype(int)
    return [entries[place] for place in places]


def _span(counts: Iterable[NdviCounts]) -> tuple[float, float]:
    """Return the common range of NDVI of all panels."""
    joint = sum(own.joint for own in counts)
    edges = np.linspace(-1, 1, _BINS + 1)
    used = np.flatnonzero(np.asarray(joint).sum(0) + np.asarray(joint).sum(1))
    return float(edges[used[0]]), float(edges[used[-1] + 1])


def _joint(
    axes: Axes, pair: tuple[str, str], own: NdviCounts, span: tuple[float, float], peak: int
) -> Any:
    shown = np.ma.masked_equal(own.joint.T, 0)
    mesh = axes.imshow(
        shown,
        cmap=mpl.colormaps["viridis"],
        norm=LogNorm(1, max(peak, 2)),
        origin="lower",
        extent=(-1, 1, -1, 1),
        interpolation="nearest",
    )
    axes.plot(span, span, color=INK, linewidth=0.8, linestyle="--")
    axes.set_xlim(span)
    axes.set_ylim(span)
    axes.set_aspect("equal")
    axes.set_xlabel(f"NDVI {_word(pair[0])}")
    axes.set_ylabel(f"NDVI {_word(pair[1])}")
    axes.set_title(own.words, loc="left", size=8.5)
    return mesh


def _word(name: str) -> str:
    return "of the truth" if name == "truth" else name


def _differences(axes: Axes, counts: dict[tuple[str, str], NdviCounts]) -> None:
    edges = np.linspace(-2, 2, _STEPS + 1)
    reach = edges[1] - edges[0]
    for index, (pair, own) in enumerate(counts.items()):
        share = 100 * own.differences / own.pixels
        label = f"{pair[1]} \N{MINUS SIGN} {pair[0]}"
        colour = (OKABE_ITO[4], OKABE_ITO[5], OKABE_ITO[2])[PAIRS.index(pair)]
        axes.stairs(share, edges, color=colour, label=label, linewidth=1.4, zorder=3 - index)
        summed = np.cumsum(share)
        low, high = np.searchsorted(summed, [100 * _TAIL, 100 * (1 - _TAIL)])
        reach = max(reach, abs(edges[low]), abs(edges[min(high + 1, _STEPS)]))
    axes.axvline(0, color=MUTED, linewidth=0.8, linestyle="--")
    axes.set_xlim(-1.03 * reach, 1.03 * reach)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("difference of NDVI")
    axes.set_ylabel("share of the pixels (%)")
    axes.legend(loc="upper right")
