"""Stage measure_tiles: quality of a folder of tiles, for each tile and in total."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from parafovea.errors import SourceError
from parafovea.formats.tiles.ledger import TileEntry, read_ledger, read_quarantine
from parafovea.kinds.reference import Reference
from parafovea.quality import metrics
from parafovea.quality.metrics import Value
from parafovea.quality.quality_files import quality_json, quality_table
from parafovea.quality.tiles.measures import TileRow, TileScorer, tile_measures
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.quality.tiles.tile_quality import TileQualityWriter
from parafovea.runtime.file_hash import file_sha256
from parafovea.runtime.progress import tracked
from parafovea.settings.quality import QualitySettings
from parafovea.settings.quantities import Range
from parafovea.storage.provenance import record
from parafovea.storage.store import replacing

logger = logging.getLogger(__name__)

#: Maximum number of reasons that are logged.
SHOWN = 5


def measure_tiles(
    ledger: Path,
    quarantine: Path,
    quality: Path,
    table: Path,
    tiles: Path,
    *,
    source: str,
    truth: str | None,
    measures: Reference,
    classes: Sequence[str],
    bands: Sequence[str],
    ranges: Mapping[str, Range] | None = None,
    metadata: str = "",
    limits: Mapping[str, Any],
) -> None:
    """Measure the tiles of a sample, or the blocks of a mosaic, one at a time in memory.

    Parameters
    ----------
    ledger, quarantine : Path
        `tiles.tsv` and `quarantine.tsv` of `collect_tiles`, or of `export_mosaic`.
    quality : Path
        JSON to write: nested metrics (`metrics`), the checked limits (`limits`), whether all are
        met (`passed`) and provenance (`provenance`), as written by `measure_quality`; for a
        segmentation also the `confusion`, pixels by true class (rows) and predicted class
        (columns); and `truth_invalid`, the reasons by tile if their truth cannot be used.
    table : Path
        TSV to write, with the columns metric, value, minimum, maximum, passed; undefined values
        are empty.
    tiles : Path
        TSV to write, a row for each tile with its own metrics; undefined values are empty.
    source : str
        The sample's source as in the sheet, used in messages.
    truth : str or None
        Folder with the truth of some or all tiles, with the same names; for a mosaic, a GeoTIFF on
        the same pixels. A tile whose truth is invalid counts as one without.
    measures : str
        Reference of the `TileMeasures`, such as "parafovea.quality.tiles.refined:RefinedTiles".
    classes : sequence of str
        All class names of the model, background first, or the bands of its output.
    bands : sequence of str
        Bands of the model's input.
    ranges : mapping, optional
        What 0 and 1 of the model's input are, for bands that are no reflectance.
    metadata : str
        The sheet's `metadata` of the sample.
    limits : mapping
        Acceptable range by metric name, as `quality.limits` of the config.

    Raises
    ------
    ConfigError
        If a limit is on a metric that does not exist.
    SourceError
        If the truth of a mosaic cannot be read or has another position or size, or no tile has a
        valid truth.
    StoreError
        If a table or a tile of `predict_tiles` is missing or damaged.
    """
    chosen = tile_measures(measures, classes=classes, bands=bands)
    allowed = QualitySettings.model_validate({"limits": limits}).limits
    metrics.check_limits(allowed, chosen.folder_paths)
    entries, aside = read_ledger(ledger), read_quarantine(quarantine)
    files = TileFiles.of(bands, chosen.outputs, truth=truth, metadata=metadata, ranges=ranges)
    scorer = chosen.scorer(files)
    judged_tiles = 0
    problems: dict[str, str] = {}
    with ExitStack() as stack:
        partial = [stack.enter_context(replacing(path)) for path in (quality, table, tiles)]
        with partial[2].open("w", encoding="utf-8", newline="") as file:
            writer = TileQualityWriter(file, chosen.tile_paths)
            for entry in tracked(entries, len(entries), "tiles"):
                row = _scored(entry, scorer, source)
                judged_tiles += row.judged
                if row.problem:
                    problems[entry.name] = row.problem
                writer.write(entry, row)
        _warn_of_truths(problems, len(entries))
        for note, count in files.truth_notes.items():
            logger.warning("%d files of the truth %s: %s", count, truth, note)
        if truth is not None and entries and not judged_tiles:
            if problems:
                name, reason = next(iter(problems.items()))
                raise SourceError(
                    f"{truth} has no valid truth for any of the {len(entries)} tiles of {source}; "
                    f"of tile {name!r}: {reason}"
                )
            if entries[0].corner is not None:
                raise SourceError(
                    f"{truth} has no measured pixel in any of the {len(entries)} blocks of "
                    f"{source}: give a truth of the same place, or correct nodata= in the metadata "
                    "column of the sample sheet"
                )
            raise SourceError(
                f"{truth} has no truth for any of the {len(entries)} tiles of {source}: its files "
                f"must have the names of the tiles, such as {entries[0].name}.npz"
            )
        totals = scorer.totals(_counts(entries, len(aside), judged_tiles, len(problems)))
        values = {path: totals[path] for path in chosen.folder_paths}
        judged = metrics.judge(values, allowed)
        provenance = record(
            "measure_tiles",
            source={"path": source},
            truth=truth,
            kind=chosen.kind,
            classes=list(classes),
            tables={path.name: file_sha256(path) for path in (ledger, quarantine)},
        )
        details = scorer.details() | ({"truth_invalid": problems} if problems else {})
        text = quality_json(values, judged, provenance, **details)
        partial[0].write_text(text, encoding="utf-8", newline="\n")
        partial[1].write_text(quality_table(judged), encoding="utf-8", newline="\n")


def _scored(entry: TileEntry, scorer: TileScorer, source: str) -> TileRow:
    try:
        return scorer.score(entry)
    except Exception as error:
        error.add_note(f"for tile {entry.name!r} of {source}")
        raise


def _warn_of_truths(problems: Mapping[str, str], count: int) -> None:
    for reason in list(problems.values())[:SHOWN]:
        logger.warning("%s", reason)
    if problems:
        logger.warning(
            "%d of %d tiles have a truth that cannot be used, and count as tiles without",
            len(problems),
            count,
        )


def _counts(
    entries: Sequence[TileEntry], aside: int, judged: int, invalid: int
) -> dict[metrics.Path, Value]:
    measured = sum(entry.measured for entry in entries)
    counts: dict[str, Value] = {
        "in": len(entries) + aside,
        "out": len(entries),
        "quarantined": aside,
        "month_assumed": sum("month" in entry.assumed for entry in entries),
        "biome_assumed": sum("biome" in entry.assumed for entry in entries),
        "with_truth": judged,
        "without_truth": len(entries) - judged,
        "truth_invalid": invalid,
        "clipped": sum(entry.clipped for entry in entries) / measured if measured else None,
    }
    return {("tiles", name): count for name, count in counts.items()}
