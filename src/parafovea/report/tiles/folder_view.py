"""Content of the report of a folder of tiles, gathered from its tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea.formats.opening import mosaic_record
from parafovea.formats.tiles.ledger import (
    QuarantinedTile,
    TileEntry,
    read_ledger,
    read_quarantine,
)
from parafovea.quality.tiles.tile_quality import read_tile_quality
from parafovea.report.canvas import Drawing
from parafovea.report.provenance_rows import degraded_reasons, provenance_rows
from parafovea.report.sample_results import read_metrics, read_quality, verdict
from parafovea.report.segmentation.sample_view import (
    LISTED,
    ClassCount,
    SampleView,
    model_facts,
    table_addresses,
)
from parafovea.report.tiles.tile_report import TileReport
from parafovea.report.tiles.tile_table import (
    ComparedLine,
    TileLine,
    filled_columns,
    tile_line,
    worst_first,
)
from parafovea.report.units import counted
from parafovea.storage.class_colours import class_colours
from parafovea.storage.layout import SampleResults

#: Maximum number of sizes and coordinate systems listed.
_MOST_NAMED = 4


@dataclass(frozen=True)
class TileView(SampleView):
    """Content of the report of a folder of tiles.

    Parameters
    ----------
    headings : tuple of str
        Column headings of `tiles`, with line breaks.
    tiles : tuple of TileLine
        The worst tiles.
    quarantined : tuple of QuarantinedTile
        The first invalid tiles.
    quarantine_count : int
        Number of all invalid tiles.
    compared : tuple of ComparedLine
        Comparisons, for a refinement.
    judged : bool
        Whether there is truth.
    """

    headings: tuple[str, ...] = ()
    tiles: tuple[TileLine, ...] = ()
    quarantined: tuple[QuarantinedTile, ...] = ()
    quarantine_count: int = 0
    compared: tuple[ComparedLine, ...] = ()
    judged: bool = False

    @property
    def counted(self) -> str:
        """Name of what `object_count` counts."""
        return "Tiles"


def view_results(
    results: SampleResults, report: type[TileReport], *, sample: str, task: str
) -> TileView:
    """Gather the content of the cohort report for a folder of tiles.

    Parameters
    ----------
    results : SampleResults
        Its results.
    report, sample, task
        See `view_tiles`.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    return view_tiles(
        results.ledger,
        results.quarantine,
        results.quality,
        results.quality_table,
        results.tile_quality,
        (),
        report=report,
        sample=sample,
        task=task,
    )


def view_tiles(
    ledger: Path,
    quarantine: Path,
    quality: Path,
    metrics: Path,
    tiles: Path,
    drawings: Sequence[Drawing],
    *,
    report: type[TileReport],
    sample: str,
    task: str = "",
    title: str | None = None,
    page: Path | None = None,
) -> TileView:
    """Gather the content of the report of a folder of tiles without reading tiles.

    Parameters
    ----------
    ledger, quarantine : Path
        `tiles.tsv` and `quarantine.tsv`.
    quality, metrics, tiles : Path
        `quality.json`, `quality.tsv` and `tile_quality.tsv` of `measure_tiles`.
    drawings : sequence of Drawing
        Figures to embed.
    report : type of TileReport
        Report class of the tiles.
    sample, task, title, page
        See `view_sample`.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    entries, aside = read_ledger(ledger), read_quarantine(quarantine)
    scores, lines = read_tile_quality(tiles), read_metrics(metrics)
    measured = read_quality(quality).get("provenance", {})
    made = measured if isinstance(measured, Mapping) else {"provenance": measured}
    processing = _processing(entries)
    what = "Mosaic" if entries and entries[0].corner is not None else "Tiles"
    records: dict[str, Mapping[str, Any]] = {what: processing, "Quality": made}
    known = {line.name: line for line in lines}
    own = report([str(name) for name in made.get("classes", ())])
    columns = filled_columns(own.columns, scores)
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
            for name, colour in zip(own.classes, class_colours(len(own.classes)), strict=True)
        ),
        objects=(),
        object_count=len(entries),
        provenance={name: provenance_rows(record) for name, record in records.items() if record},
        drawings=tuple(drawings),
        summary=_counts(own.verb, len(entries), len(aside)) + own.outcome(known),
        headings=tuple(column.heading for column in columns),
        tiles=tuple(
            tile_line(entry, scores, columns)
            for entry in worst_first(entries, scores, own.error(scores))[:LISTED]
        ),
        quarantined=aside[:LISTED],
        quarantine_count=len(aside),
        compared=own.compared(known),
        judged=bool((scores["truth"] == "true").any()),
        tables=table_addresses(page, ledger, quarantine, metrics, tiles),
    )


def _counts(verb: str, done: int, aside: int) -> str:
    """Return the summary, such as "5 of 6 tiles refined, 1 quarantined"."""
    words = f"{done:,} of {counted(done + aside, 'tile')} {verb}"
    return words + (f", {aside:,} quarantined" if aside else "")


def _facts(entries: Sequence[TileEntry]) -> dict[str, str]:
    facts = {}
    sizes = Counter(f"{entry.height} × {entry.width}" for entry in entries)
    if sizes:
        named = [f"{size} ({count:,})" for size, count in sizes.most_common(_MOST_NAMED)]
        more = len(sizes) - len(named)
        facts["Sizes (y, x)"] = ", ".join([*named, *([f"{more} more"] if more > 0 else [])])
    for name in ("month", "biome"):
        assumed = sum(name in entry.assumed for entry in entries)
        if assumed:
            facts[f"{name.capitalize()} assumed"] = counted(assumed, "tile")
    clipped, measured = (sum(counts) for counts in zip(*_value_counts(entries), strict=True))
    if clipped:
        facts["Clipped to [0, 1]"] = (
            f"{clipped:,} of {measured:,} values ({100 * clipped / measured:.2g} %)"
        )
    systems = sorted({entry.position.crs for entry in entries if entry.position is not None})
    if systems:
        facts["Position"] = ", ".join(systems[:_MOST_NAMED]) + (
            f", {len(systems) - _MOST_NAMED} more" if len(systems) > _MOST_NAMED else ""
        )
    return facts


def _value_counts(entries: Sequence[TileEntry]) -> list[tuple[int, int]]:
    return [(entry.clipped, entry.measured) for entry in entries] or [(0, 0)]


def _processing(entries: Sequence[TileEntry]) -> Mapping[str, Any]:
    """Return the provenance of the first tile, without what differs between tiles and runs."""
    if not entries:
        return {}
    if entries[0].corner is not None:
        return mosaic_record(entries[0].output)
    path = entries[0].output.with_suffix(".json")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # specific to the tile's own arrays
        return {}
    made = content.get("processing", {}) if isinstance(content, dict) else {}
    return _shared(made) if isinstance(made, Mapping) else {}


def _shared(made: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the provenance that all tiles share, also that of an earlier stage within it."""
    own = ("input_file", "input_sha256", "processing_time_ms", "timestamp")
    return {
        name: _shared(value) if isinstance(value, Mapping) else value
        for name, value in made.items()
        if name not in own
    }
