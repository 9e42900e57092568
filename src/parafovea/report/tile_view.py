"""What a page says of a folder of tiles, gathered from its tables."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from parafovea.quality.tile_metrics import TARGETS, TileKind
from parafovea.quality.tile_tables import (
    QuarantinedTile,
    TileEntry,
    read_ledger,
    read_quarantine,
    read_tile_quality,
)
from parafovea.report.canvas import Drawing, short
from parafovea.report.palette import class_colours
from parafovea.report.provenance import degraded_reasons, provenance_rows
from parafovea.report.sample import Metric, SampleResults, read_metrics, read_quality, verdict
from parafovea.report.scale import number_text
from parafovea.report.view import LISTED, ClassCount, SampleView, model_facts

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

#: Sizes and coordinate systems that are listed.
_MOST_NAMED = 4


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


@dataclass(frozen=True)
class TileView(SampleView):
    """Everything that a page shows of a folder of tiles.

    Parameters
    ----------
    summary : str
        The first thing to know.
    headings : tuple of str
        Of the cells of `tiles`, in lines.
    tiles : tuple of TileLine
        The worst ones.
    quarantined : tuple of QuarantinedTile
        The first ones.
    quarantine_count : int
        Of all of them.
    compared : tuple of ComparedLine
        Of a refinement.
    judged : bool
        Whether there is truth.
    """

    summary: str = ""
    headings: tuple[str, ...] = ()
    tiles: tuple[TileLine, ...] = ()
    quarantined: tuple[QuarantinedTile, ...] = ()
    quarantine_count: int = 0
    compared: tuple[ComparedLine, ...] = ()
    judged: bool = False

    @property
    def counted(self) -> str:
        """What `object_count` counts."""
        return "Tiles"


def view_tiles(
    results: SampleResults,
    drawings: Sequence[Drawing],
    *,
    kind: TileKind,
    sample: str,
    task: str = "",
    title: str | None = None,
) -> TileView:
    """Gather what a page says of a folder of tiles; no tile is read.

    Parameters
    ----------
    results : SampleResults
        Where its tables lie.
    drawings : sequence of Drawing
        Pictures to embed.
    kind : str
        Of the task.
    sample, task, title
        As for `view_sample`.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    entries, aside = read_ledger(results.ledger), read_quarantine(results.quarantine)
    scores, lines = read_tile_quality(results.tile_quality), read_metrics(results.quality_table)
    measured = read_quality(results.quality).get("provenance", {})
    made = measured if isinstance(measured, Mapping) else {"provenance": measured}
    processing = _processing(entries)
    records: dict[str, Mapping[str, Any]] = {"Tiles": processing, "Quality": made}
    known = {line.name: line for line in lines}
    classes = [str(name) for name in made.get("classes", ())] if kind == "segmentation" else []
    columns = _columns(kind, classes, scores)
    return TileView(
        sample=sample,
        task=task,
        title=title or sample,
        degraded=degraded_reasons(records),
        facts=_facts(entries) | model_facts({**made, **processing}),
        verdict=verdict(lines),
        metrics=lines,
        classes=tuple(
            ClassCount(name, colour, None)
            for name, colour in zip(classes, class_colours(len(classes)), strict=True)
        ),
        objects=(),
        object_count=len(entries),
        provenance={name: provenance_rows(record) for name, record in records.items() if record},
        drawings=tuple(drawings),
        summary=_summary(kind, known, len(entries), len(aside)),
        headings=tuple(heading for heading, *_ in columns),
        tiles=tuple(
            _line(entry, scores, columns)
            for entry in worst_first(entries, scores, kind=kind)[:LISTED]
        ),
        quarantined=aside[:LISTED],
        quarantine_count=len(aside),
        compared=_compared(known) if kind == "refinement" else (),
        judged=bool((scores["truth"] == "true").any()),
    )


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


def _columns(
    kind: TileKind, classes: Sequence[str], scores: pd.DataFrame
) -> tuple[tuple[str, str, int], ...]:
    """Return the columns of the table of tiles that have a number for any tile."""
    if kind == "segmentation":
        own = tuple((short(name, 14), f"iou.{name}", 3) for name in classes[:_MOST_CLASSES])
        wanted: tuple[tuple[str, str, int], ...] = (
            *(("pixels", "pixels", 0), ("mean IoU", "iou", 3)),
            *own,
        )
    else:
        wanted = _REFINED
    return tuple(each for each in wanted if scores[each[1]].notna().any())


def _line(
    entry: TileEntry, scores: pd.DataFrame, columns: Sequence[tuple[str, str, int]]
) -> TileLine:
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


def _compared(metrics: Mapping[str, Metric]) -> tuple[ComparedLine, ...]:
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


def _summary(kind: TileKind, metrics: Mapping[str, Metric], done: int, aside: int) -> str:
    """Return the first thing to know: "5 of 6 tiles refined, 1 quarantined; NDVI RMSE 0.031"."""
    verb = "refined" if kind == "refinement" else "segmented"
    words = f"{done:,} of {done + aside:,} tile{'' if done + aside == 1 else 's'} {verb}"
    words += f", {aside:,} quarantined" if aside else ""

    def value(name: str) -> float | None:
        line = metrics.get(name)
        return None if line is None else line.value

    if kind == "segmentation":
        overlap = value("iou")
        return words if overlap is None else f"{words}; mean IoU {number_text(overlap)}"
    kept, gain = value("preservation.ndvi_rmse"), value("gain.psnr")
    after = value("accuracy.psnr")
    if kept is not None:
        words += f"; NDVI RMSE {number_text(kept)} against the input"
    if after is not None:
        words += f"; PSNR {after:.1f} dB against the truth"
    if gain is not None:
        more = "more" if gain >= 0 else "less"
        words += f", {abs(gain):.1f} dB {more} than the input"
    return words


def _facts(entries: Sequence[TileEntry]) -> dict[str, str]:
    facts = {}
    sizes = Counter(f"{entry.height} × {entry.width}" for entry in entries)
    if sizes:
        named = [f"{size} ({count:,})" for size, count in sizes.most_common(_MOST_NAMED)]
        more = len(sizes) - len(named)
        facts["Sizes (y, x)"] = ", ".join([*named, *([f"{more} more"] if more > 0 else [])])
    for name in ("month", "biome"):
        assumed = sum(name in entry.assumed for entry in entries)
        facts[f"{name.capitalize()} assumed"] = f"{assumed:,} tile{'' if assumed == 1 else 's'}"
    systems = sorted({entry.position.crs for entry in entries if entry.position is not None})
    if systems:
        facts["Position"] = ", ".join(systems[:_MOST_NAMED]) + (
            f", {len(systems) - _MOST_NAMED} more" if len(systems) > _MOST_NAMED else ""
        )
    return facts


def _processing(entries: Sequence[TileEntry]) -> Mapping[str, Any]:
    """Return what made the first tile, without what differs from tile to tile."""
    if not entries:
        return {}
    path = entries[0].output.with_suffix(".json")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # the tile's own arrays are what counts; measure_tiles reads those
        return {}
    made = content.get("processing", {}) if isinstance(content, dict) else {}
    if not isinstance(made, Mapping):
        return {}
    own = ("input_file", "input_sha256", "processing_time_ms", "timestamp")
    return {name: value for name, value in made.items() if name not in own}
