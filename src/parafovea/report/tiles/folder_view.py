"""What a page says of a folder of tiles, gathered from its tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea.formats.opening import mosaic_record
from parafovea.quality.tiles.metric_names import TileKind
from parafovea.quality.tiles.quality_tables import (
    QuarantinedTile,
    TileEntry,
    read_ledger,
    read_quarantine,
    read_tile_quality,
)
from parafovea.report.canvas import Drawing
from parafovea.report.palette import class_colours
from parafovea.report.provenance_rows import degraded_reasons, provenance_rows
from parafovea.report.sample_results import (
    Metric,
    SampleResults,
    read_metrics,
    read_quality,
    verdict,
)
from parafovea.report.segmentation.sample_view import LISTED, ClassCount, SampleView, model_facts
from parafovea.report.tiles.tile_table import (
    ComparedLine,
    TileLine,
    compared_lines,
    tile_columns,
    tile_line,
    worst_first,
)
from parafovea.report.units import number_text

#: Sizes and coordinate systems that are listed.
_MOST_NAMED = 4


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
    what = "Mosaic" if entries and entries[0].corner is not None else "Tiles"
    records: dict[str, Mapping[str, Any]] = {what: processing, "Quality": made}
    known = {line.name: line for line in lines}
    classes = [str(name) for name in made.get("classes", ())] if kind == "segmentation" else []
    columns = tile_columns(kind, classes, scores)
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
            tile_line(entry, scores, columns)
            for entry in worst_first(entries, scores, kind=kind)[:LISTED]
        ),
        quarantined=aside[:LISTED],
        quarantine_count=len(aside),
        compared=compared_lines(known) if kind == "refinement" else (),
        judged=bool((scores["truth"] == "true").any()),
    )


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
    if entries[0].corner is not None:
        return mosaic_record(entries[0].output)
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
