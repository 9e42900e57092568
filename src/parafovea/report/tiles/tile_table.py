"""Tables of a page about tiles: the worst ones line by line, and the metrics side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from parafovea.quality.tiles.metric_names import TARGETS, TileKind
from parafovea.quality.tiles.quality_tables import TileEntry
from parafovea.report.canvas import short
from parafovea.report.sample_results import Metric
from parafovea.report.units import number_text

#: Names of the metrics of a tile, and their units, in the order of the page's table.
MEASURES: Mapping[str, str] = {
    "ndvi_rmse": "NDVI RMSE",
    "edge_correlation": "Edge correlation (NIR)",
    "edge_displacement": "Edge displacement (pixels)",
    "evi_rmse": "EVI RMSE",
    "spectral_angle": "Spectral angle (°)",
    "rmse": "RMSE (reflectance)",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
}

#: Columns of the table of tiles: heading, column of `tile_quality.tsv`, digits.
_REFINED = (
    ("NDVI RMSE\nto truth", "accuracy.ndvi_rmse", 3),
    ("of the\ninput", "accuracy_input.ndvi_rmse", 3),
    ("PSNR\n(dB)", "accuracy.psnr", 1),
    ("of the\ninput", "accuracy_input.psnr", 1),
    ("NDVI RMSE\nto input", "preservation.ndvi_rmse", 3),
    ("edge corre-\nlation", "preservation.edge_correlation", 3),
    ("displaced\n(pixels)", "preservation.edge_displacement", 2),
)

#: Classes whose IoU has a column.
_MOST_CLASSES = 6


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of a tile, and whether it misses its target."""

    text: str
    missed: bool = False


@dataclass(frozen=True, slots=True)
class TileLine:
    """A tile as a line of a page."""

    name: str
    size: str
    month: str
    biome: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ComparedLine:
    """A metric as a line of a page: what was kept of the input, and how close to the truth it is.

    Parameters
    ----------
    name, target : str
        Words; the target is empty where there is none.
    kept, before, after : str
        Result against input, input against truth, result against truth.
    kept_share, after_share : str
        Tiles that meet the target, in per cent.
    """

    name: str
    target: str
    kept: str
    kept_share: str
    before: str
    after: str
    after_share: str


def worst_first(
    entries: Sequence[TileEntry], scores: pd.DataFrame, *, kind: TileKind
) -> list[TileEntry]:
    """Return the tiles, those first that are most wrong.

    Parameters
    ----------
    entries : sequence of TileEntry
        All tiles that are done.
    scores : DataFrame
        Rows of `tile_quality.tsv`, by name.
    kind : str
        A refined tile is wrong by its NDVI RMSE against the truth, and those without truth come
        after, by their NDVI RMSE against the input; a segmented one by its IoU. Tiles without
        any number come last, in their own order.
    """
    judged = scores["truth"] == "true"
    if kind == "segmentation":
        rated = -scores["iou"]
    else:
        rated = scores["accuracy.ndvi_rmse"].where(judged, scores["preservation.ndvi_rmse"])

    def rank(entry: TileEntry) -> tuple[bool, bool, float]:
        error = float(rated[entry.name])
        unknown = math.isnan(error)
        return unknown, not judged[entry.name], 0.0 if unknown else -error

    return sorted(entries, key=rank)


def tile_columns(
    kind: TileKind, classes: Sequence[str], scores: pd.DataFrame
) -> tuple[tuple[str, str, int], ...]:
    """Return the heading, column and digits of what any tile has a number for."""
    if kind == "segmentation":
        own = tuple((short(name, 14), f"iou.{name}", 3) for name in classes[:_MOST_CLASSES])
        wanted: tuple[tuple[str, str, int], ...] = (
            *(("pixels", "pixels", 0), ("mean IoU", "iou", 3)),
            *own,
        )
    else:
        wanted = _REFINED
    return tuple(each for each in wanted if scores[each[1]].notna().any())


def tile_line(
    entry: TileEntry, scores: pd.DataFrame, columns: Sequence[tuple[str, str, int]]
) -> TileLine:
    """Return a tile as a line, with a cell for each of the `tile_columns`."""
    cells = []
    numbers: dict[Any, Any] = dict(scores.loc[[entry.name]].iloc[0])
    for _, column, digits in columns:
        value = float(numbers[column])
        if math.isnan(value):
            cells.append(Cell(""))
        else:
            target = TARGETS.get(column.rpartition(".")[2])
            missed = target is not None and not target.met(value)
            cells.append(Cell(f"{value:,.{digits}f}", missed and "input." not in column))
    month, biome = (
        f"{value} (assumed)" if name in entry.assumed else value
        for name, value in (("month", entry.month), ("biome", entry.biome))
    )
    return TileLine(entry.name, f"{entry.height} × {entry.width}", month, biome, tuple(cells))


def compared_lines(metrics: Mapping[str, Metric]) -> tuple[ComparedLine, ...]:
    """Return the metrics of all tiles together as lines; `metrics` is quality.tsv by name."""

    def value(name: str) -> str:
        line = metrics.get(name)
        return "" if line is None or line.value is None else number_text(line.value)

    def share(comparison: str, measure: str) -> str:
        line = metrics.get(f"{comparison}.target_met.{measure}")
        return "" if line is None or line.value is None else _per_cent(line.value)

    return tuple(
        ComparedLine(
            name=words,
            target=str(TARGETS.get(measure, "")),
            kept=value(f"preservation.{measure}"),
            kept_share=share("preservation", measure),
            before=value(f"accuracy_input.{measure}"),
            after=value(f"accuracy.{measure}"),
            after_share=share("accuracy", measure),
        )
        for measure, words in MEASURES.items()
    )


def _per_cent(share: float) -> str:
    """Return a share in per cent; only a whole one is 100 %, and only none is 0 %."""
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %" if 0 < share < 1 else f"{100 * share:.0f} %"
