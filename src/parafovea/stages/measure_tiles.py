"""Stage measure_tiles: how good a folder of tiles is, tile by tile and all of them together."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea.errors import ConfigError, SourceError
from parafovea.quality import metrics
from parafovea.quality.metrics import Value
from parafovea.quality.quality_files import quality_json, quality_table
from parafovea.quality.tiles.image_metrics import BANDS
from parafovea.quality.tiles.metric_names import TileKind, folder_names, folder_paths, tile_paths
from parafovea.quality.tiles.quality_tables import (
    TileEntry,
    read_ledger,
    read_quarantine,
    sha256_of,
)
from parafovea.quality.tiles.scores import TileRow, scorer_of
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.runtime.progress import tracked
from parafovea.settings.quality import Limit
from parafovea.storage.provenance import record
from parafovea.storage.store import replacing

#: Of `tile_quality.tsv`, before the metrics.
COLUMNS = ("name", "height", "width", "month", "biome", "assumed", "truth", "pixels")


@dataclass(frozen=True, slots=True)
class TileQuality:
    """What `measure_tiles` writes.

    Parameters
    ----------
    json : Path
        Metrics, nested (`metrics`), the judged limits (`limits`), whether all hold (`passed`) and
        what made them (`provenance`), as `measure_quality` writes them; of a segmentation also
        the `confusion`, pixels by true class (rows) and found class (columns).
    table : Path
        Columns metric, value, minimum, maximum, passed; what is not defined is empty.
    tiles : Path
        TSV, a line for each tile with its own metrics; what is not defined is empty.
    """

    json: Path
    table: Path
    tiles: Path


def measure_tiles(
    ledger: Path,
    quarantine: Path,
    outputs: TileQuality,
    *,
    source: str,
    truth: str | None = None,
    kind: TileKind = "refinement",
    classes: Sequence[str] = (),
    bands: Sequence[str] = BANDS,
    metadata: str = "",
    limits: Mapping[str, Limit],
) -> None:
    """Measure the tiles of a sample, or a mosaic by its blocks; memory holds one of them.

    Parameters
    ----------
    ledger, quarantine : Path
        `tiles.tsv` and `quarantine.tsv` of `collect_tiles`, or of `export_mosaic`.
    outputs : TileQuality
        Where to write.
    source : str
        The sample's source, as in the sheet, for messages.
    truth : str or None
        Folder with the truth of some or all tiles, under their names; of a mosaic, a GeoTIFF of
        the same pixels.
    kind : str
        Of the task: refinement compares reflectances, segmentation classes.
    classes : sequence of str
        All class names of a segmentation, the background first; bands that a refinement makes.
    bands : sequence of str
        That the model takes.
    metadata : str
        The sheet's `metadata` of the sample.
    limits : mapping of str to Limit
        Acceptable range by metric name.

    Raises
    ------
    ConfigError
        If a limit is on a metric that does not exist.
    SourceError
        If the truth cannot be read, is of another size, or is there for no tile at all.
    StoreError
        If a table or a tile of `predict_tiles` is missing or damaged.
    """
    _check_limits(limits, kind, classes)
    entries, aside = read_ledger(ledger), read_quarantine(quarantine)
    files = TileFiles.of(kind, bands, classes, truth=truth, metadata=metadata)
    scorer = scorer_of(kind, files, classes=classes)
    judged_tiles = 0
    with ExitStack() as stack:
        paths = (outputs.json, outputs.table, outputs.tiles)
        partial = [stack.enter_context(replacing(path)) for path in paths]
        with partial[2].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            columns = tile_paths(kind, classes)
            writer.writerow([*COLUMNS, *map(metrics.metric_name, columns)])
            for entry in tracked(entries, len(entries), "tiles"):
                row = _scored(entry, scorer.score, source)
                judged_tiles += row.judged
                writer.writerow(_cells(entry, row, columns))
        if truth is not None and entries and not judged_tiles:
            raise SourceError(
                f"{truth} has no truth for any of the {len(entries)} tiles of {source}: its files "
                f"must have the names of the tiles, such as {entries[0].name}.npz"
            )
        counts = _counts(entries, len(aside), judged_tiles)
        totals = scorer.totals(counts)
        values = {path: totals[path] for path in folder_paths(kind, classes)}
        judged = metrics.judge(values, limits)
        provenance = record(
            "measure_tiles",
            source={"path": source},
            truth=truth,
            kind=kind,
            classes=list(classes),
            tables={path.name: sha256_of(path) for path in (ledger, quarantine)},
        )
        text = quality_json(values, judged, provenance, **scorer.details())
        partial[0].write_text(text, encoding="utf-8", newline="\n")
        partial[1].write_text(quality_table(judged), encoding="utf-8", newline="\n")


def _check_limits(limits: Mapping[str, Limit], kind: TileKind, classes: Sequence[str]) -> None:
    known = folder_names(kind, classes)
    unknown = [name for name in limits if name not in known]
    if unknown:
        raise ConfigError(
            f"quality.limits names {', '.join(map(repr, unknown))}, which no folder of tiles has: "
            f"use one of {', '.join(known)}"
        )


def _scored(entry: TileEntry, score: Any, source: str) -> TileRow:
    try:
        row: TileRow = score(entry)
    except Exception as error:
        error.add_note(f"for tile {entry.name!r} of {source}")
        raise
    return row


def _counts(entries: Sequence[TileEntry], aside: int, judged: int) -> dict[metrics.Path, Value]:
    counts = {
        "in": len(entries) + aside,
        "out": len(entries),
        "quarantined": aside,
        "month_assumed": sum("month" in entry.assumed for entry in entries),
        "biome_assumed": sum("biome" in entry.assumed for entry in entries),
        "with_truth": judged,
        "without_truth": len(entries) - judged,
    }
    return {("tiles", name): count for name, count in counts.items()}


def _cells(entry: TileEntry, row: TileRow, columns: Sequence[metrics.Path]) -> Iterator[str]:
    yield from (entry.name, str(entry.height), str(entry.width), entry.month, entry.biome)
    yield from ("+".join(sorted(entry.assumed, reverse=True)), str(row.judged).lower())
    yield str(row.pixels)
    for path in columns:
        value = row.values[path]
        yield "" if value is None else f"{value:.9g}"
