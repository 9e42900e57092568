"""`tile_quality.tsv`: a row for each tile of a folder, with its own metrics."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from parafovea.errors import StoreError
from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.metrics import Path as MetricPath
from parafovea.quality.metrics import metric_name
from parafovea.quality.tiles.measures import TileRow

#: Columns before the metrics.
COLUMNS = ("name", "height", "width", "month", "biome", "assumed", "truth", "pixels")

#: Columns before the metrics that contain text.
TEXT_COLUMNS = ("month", "biome", "assumed", "truth")


class TileQualityWriter:
    """Writes the table row by row, in constant memory.

    Parameters
    ----------
    file : file
        Text file open for writing; the header is written immediately.
    paths : sequence of tuple of str
        The metrics of a tile, in the order of the columns.
    """

    def __init__(self, file: Any, paths: Sequence[MetricPath]) -> None:
        self._writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        self._paths = paths
        self._writer.writerow([*COLUMNS, *map(metric_name, paths)])

    def write(self, entry: TileEntry, row: TileRow) -> None:
        """Write the row of a tile; an undefined metric is an empty cell."""
        self._writer.writerow(self._cells(entry, row))

    def _cells(self, entry: TileEntry, row: TileRow) -> Iterator[str]:
        yield from (entry.name, str(entry.height), str(entry.width), entry.month, entry.biome)
        yield from ("+".join(sorted(entry.assumed, reverse=True)), str(row.judged).lower())
        yield str(row.pixels)
        for path in self._paths:
            value = row.values[path]
            yield "" if value is None else f"{value:.9g}"


def read_tile_quality(path: Path) -> pd.DataFrame:
    """Read `tile_quality.tsv`: a row per tile, indexed by name, with NaN for undefined metrics.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    try:
        # a tile may be named "NA" or "007": text is not converted to missing values or numbers
        table = pd.read_csv(path, sep="\t", dtype=str, na_filter=False).set_index("name")
        metrics = [name for name in table.columns if name not in TEXT_COLUMNS]
        for name in metrics:
            table[name] = [float(text) if text else math.nan for text in table[name]]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path} cannot be read as a table ({error}): delete it and run measure_tiles again"
        ) from error
    return table
