"""Figure of refined tiles, worst first: colours, near infrared and NDVI, before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.tiles.image_metrics import NIR, ndvi
from parafovea.quality.tiles.tile_arrays import TileFiles, read_truth
from parafovea.report.canvas import Drawing, save
from parafovea.report.tiles.panels import (
    ColourBar,
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

Array = np.ndarray[Any, Any]

_NDVI = (mpl.colormaps["YlGn"], Normalize(-0.2, 1))
_CHANGE = (mpl.colormaps["PuOr"], Normalize(-0.2, 0.2))


@dataclass(frozen=True, slots=True)
class RefinedTile:
    """The images of one tile.

    Parameters
    ----------
    entry : TileEntry
        Its row in the ledger.
    source : (band, y, x) float
        Input of the tile; two bands if `radar`.
    radar : bool
        Whether the input is a radar image.
    refined : (4, y, x) float
        Reflectance in [0, 1].
    truth : (4, y, x) float or None
        Reflectance of the truth, if any.
    """

    entry: TileEntry
    source: Array
    radar: bool
    refined: Array
    truth: Array | None

    @classmethod
    def read(cls, entry: TileEntry, files: TileFiles) -> RefinedTile:
        """Read the images of a tile."""
        return cls(
            entry,
            files.read_input(entry),
            not files.optical,
            files.read_refined(entry),
            read_truth(files.read_optical_truth, entry)[0],
        )

    @property
    def optical_source(self) -> Array | None:
        """The input, if it is optical."""
        return None if self.radar else self.source

    @property
    def reference(self) -> Array:
        """Image that determines the stretch: truth, otherwise input, otherwise the result."""
        if self.truth is not None:
            return self.truth
        return self.refined if self.radar else self.source


def draw_refined(
    entries: Sequence[TileEntry], scores: pd.DataFrame, path: Path, *, files: TileFiles
) -> Drawing:
    """Draw tiles before and after refinement, and their truth, in the given order.

    Parameters
    ----------
    entries : sequence of TileEntry
        Tiles to draw; only their files are read.
    scores : DataFrame
        Rows of `tile_quality.tsv`, by name.
    path : Path
        PNG file to write, with a note if there are no tiles.
    files : TileFiles
        Reader of the tiles.

    Returns
    -------
    Drawing
        File, title and caption. Draw within `canvas.styled`.
    """
    title = "Tiles before and after"
    if not entries:
        words = "No tile was refined."
        return save(no_panels("no tile was refined"), Drawing(path, title, words))
    tiles = [RefinedTile.read(entry, files) for entry in entries]
    judged = any(tile.truth is not None for tile in tiles)
    rows = [
        _row(tile, dict(scores.loc[[tile.entry.name]].iloc[0]), judged=judged) for tile in tiles
    ]
    bars = (ColourBar(_NDVI, "NDVI"), ColourBar(_CHANGE, "difference of NDVI"))
    figure = panels_figure(rows, bars=bars)
    ranked = "NDVI RMSE against the truth" if judged else "NDVI RMSE against the input"
    caption = (
        f"The {counted(len(tiles), 'tile')} with the largest {ranked}, worst first. Images of "
        f"a row share one stretch, from the {STRETCH[0]}nd to the {STRETCH[1]}th percentile of its "
        f"{'truth, or of its input without truth' if judged else 'input'}; the line above "
        "gives it for each band in reflectance. RGB is B04, B03 and B02, NIR is B08. Grey pixels "
        "have no value."
    )
    return save(figure, Drawing(path, title, caption))


def _row(tile: RefinedTile, score: Mapping[Any, Any], *, judged: bool) -> PanelRow:
    stretch = stretch_of(tile.reference)
    rgb, nir = [_before_rgb(tile, stretch)], [_before_nir(tile, stretch)]
    rgb.append(_rgb("after", tile.refined, stretch))
    nir.append(_nir("after", tile.refined, stretch))
    indices = {"before": tile.optical_source, "after": tile.refined, "truth": tile.truth}
    maps = {name: None if image is None else ndvi(image) for name, image in indices.items()}
    shown = ("before", "after", "truth") if judged else ("before", "after")
    index = [Panel(f"NDVI {n}", maps[n], _NDVI, _lacking(n)) for n in shown]
    change = [_change("after", "before", maps)]
    lines: tuple[tuple[Panel, ...], ...]
    if judged:
        rgb.append(_rgb("truth", tile.truth, stretch))
        nir.append(_nir("truth", tile.truth, stretch))
        change += [_change("before", "truth", maps), _change("after", "truth", maps)]
        lines = ((*rgb, *nir), (*index, *change))
    else:
        lines = ((*rgb, *nir, *index, *change),)
    words = (*wrapped(_numbers(score)), *wrapped(_place(tile.entry, stretch)))
    return PanelRow(tile.entry.name, words, lines, (tile.entry.height, tile.entry.width))


def _before_rgb(tile: RefinedTile, stretch: Array) -> Panel:
    if tile.radar:
        return Panel("VV before", grey(tile.source, stretch_of(tile.source), 0))
    return _rgb("before", tile.source, stretch)


def _before_nir(tile: RefinedTile, stretch: Array) -> Panel:
    if tile.radar:
        return Panel("VH before", grey(tile.source, stretch_of(tile.source), 1))
    return _nir("before", tile.source, stretch)


def _rgb(name: str, image: Array | None, stretch: Array) -> Panel:
    if image is None:
        return Panel(f"RGB {name}", None, words=_lacking(name))
    return Panel(f"RGB {name}", natural(image, stretch))


def _nir(name: str, image: Array | None, stretch: Array) -> Panel:
    if image is None:
        return Panel(f"NIR {name}", None, words=_lacking(name))
    return Panel(f"NIR {name}", grey(image, stretch, NIR))


def _change(last: str, first: str, maps: dict[str, Array | None]) -> Panel:
    one, other = maps[last], maps[first]
    title = f"NDVI {last} \N{MINUS SIGN} {first}"
    if one is None or other is None:
        return Panel(title, None, words=_lacking(last if one is None else first))
    return Panel(title, one - other, _CHANGE)


def _lacking(name: str) -> str:
    return "no truth" if name == "truth" else "a radar image\nhas no NDVI"


def _numbers(score: Mapping[Any, Any]) -> list[str]:
    """Return a tile's metrics as texts, without undefined ones."""

    def number(name: str, digits: int) -> str | None:
        value = float(score[name])
        return None if math.isnan(value) else f"{value:z.{digits}f}"

    parts = []
    after, before = number("accuracy.ndvi_rmse", 3), number("accuracy_input.ndvi_rmse", 3)
    if after is not None:
        gained = "" if before is None else f" (input {before})"
        parts.append(f"NDVI RMSE against the truth {after}{gained}")
    after, before = number("accuracy.psnr", 1), number("accuracy_input.psnr", 1)
    if after is not None:
        parts.append(f"PSNR {after} dB" + ("" if before is None else f" (input {before} dB)"))
    kept = number("preservation.ndvi_rmse", 3)
    if kept is not None:
        parts.append(f"NDVI RMSE against the input {kept}")
        edges = number("preservation.edge_correlation", 3)
        moved = number("preservation.edge_displacement", 2)
        parts.append(
            "edges undefined, the tile is flat"
            if edges is None
            else f"edge correlation {edges}, edges shifted by {moved} pixels"
        )
    return parts or ["no reference to compare with"]


def _place(entry: TileEntry, stretch: Array) -> list[str]:
    month, biome = (
        f"{name} {value}{' (assumed)' if name in entry.assumed else ''}"
        for name, value in (("month", entry.month), ("biome", entry.biome))
    )
    words = stretch_words(stretch, (*COLOURS, NIR))
    return [f"{entry.height} × {entry.width} pixels", f"{month}, {biome}", f"stretch: {words}"]
