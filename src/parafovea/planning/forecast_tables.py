"""Tables of a forecast, for the terminal and as TSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from parafovea.kinds.stages import stages
from parafovea.planning.forecast import Forecast, StageForecast
from parafovea.storage.layout import bytes_text
from parafovea.storage.store import replacing

Rows = list[list[str]]

TSV_COLUMNS = (
    "sample",
    "stage",
    "device",
    "jobs",
    "windows",
    "minutes_a_job",
    "minutes",
    "memory_mb",
    "disk_mb",
    "computed_over_volume",
    "read_over_volume",
)


def minutes_text(seconds: float) -> str:
    """Return a time as text, such as "12 min" or "3.4 h"."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 3600:,.0f} h"


def sample_rows(forecasts: Sequence[Forecast], unknown: Iterable[str] = ()) -> Rows:
    """Return a header and a row for each sample; the last row is the total.

    Parameters
    ----------
    forecasts : sequence of Forecast
        Of the samples whose size is known.
    unknown : iterable of str
        Names of the samples whose size is unknown, which are marked and not counted.
    """
    rows = [
        [
            "sample",
            "voxels",
            "windows",
            "shards",
            "computed",
            "read",
            "GPU time",
            "CPU time",
            "memory",
            *_stores(),
            "disk",
        ]
    ]
    for each in forecasts:
        rows.append(
            [
                each.sample,
                each.work.extent,
                f"{each.work.windows:,}",
                str(each.work.shards),
                f"{each.amplification.computed:.2f} x",
                f"{each.amplification.read:.2f} x",
                minutes_text(each.seconds(gpu=True)),
                minutes_text(each.seconds(gpu=False)),
                bytes_text(round(each.largest.memory)),
                *(bytes_text(_stored([each], what)) for what in _stores()),
                bytes_text(each.disk),
            ]
        )
    rows += [[name, "unknown", *[""] * (len(rows[0]) - 2)] for name in unknown]
    if len(forecasts) > 1:
        rows.append(
            [
                f"{len(forecasts)} samples",
                "",
                f"{sum(each.work.windows for each in forecasts):,}",
                f"{sum(each.work.shards for each in forecasts):,}",
                "",
                "",
                minutes_text(sum(each.seconds(gpu=True) for each in forecasts)),
                minutes_text(sum(each.seconds(gpu=False) for each in forecasts)),
                bytes_text(round(max(each.largest.memory for each in forecasts))),
                *(bytes_text(_stored(forecasts, what)) for what in _stores()),
                bytes_text(sum(each.disk for each in forecasts)),
            ]
        )
    return rows


def _stores() -> tuple[str, ...]:
    """Return the names of stored data, each a column in the table of samples."""
    return tuple(dict.fromkeys(stage.stores for stage in stages().values() if stage.stores))


def _stored(forecasts: Sequence[Forecast], what: str) -> int:
    return sum(
        stage.disk for each in forecasts for stage in each.stages if stage.stage.stores == what
    )


def stage_rows(forecasts: Sequence[Forecast]) -> Rows:
    """Return a header and a row for each stage over all samples."""
    rows = [["stage", "on", "jobs", "longest job", "all jobs", "memory of a job", "disk"]]
    for name in stages():
        found = [stage for each in forecasts for stage in each.stages if stage.stage.name == name]
        if found:
            rows.append(
                [
                    name,
                    _device(found[0]),
                    f"{sum(stage.jobs for stage in found):,}",
                    minutes_text(max(stage.seconds for stage in found)),
                    minutes_text(sum(stage.total_seconds for stage in found)),
                    bytes_text(round(max(stage.memory for stage in found))),
                    bytes_text(sum(stage.disk for stage in found)),
                ]
            )
    return rows


def _device(stage: StageForecast) -> str:
    return stage.stage.device.upper()


def write_forecasts(path: Path, forecasts: Sequence[Forecast], unknown: Iterable[str] = ()) -> None:
    """Write a TSV with a line for each sample and stage, atomically.

    Parameters
    ----------
    path : Path
        File to write.
    forecasts : sequence of Forecast
        Of the samples whose size is known.
    unknown : iterable of str
        Names of the samples whose size is unknown: a line each, whose stage is "unknown".
    """
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(TSV_COLUMNS)
        writer.writerows(_lines(forecasts))
        writer.writerows([name, "unknown", *[""] * (len(TSV_COLUMNS) - 2)] for name in unknown)


def _lines(forecasts: Sequence[Forecast]) -> Iterator[list[str]]:
    for each in forecasts:
        for stage in each.stages:
            windowed = "shard" in stage.stage.wildcards
            yield [
                each.sample,
                stage.stage.name,
                _device(stage).lower(),
                str(stage.jobs),
                str(each.work.windows) if windowed else "",
                f"{stage.seconds / 60:.2f}",
                f"{stage.total_seconds / 60:.2f}",
                f"{stage.memory / 1e6:.0f}",
                f"{stage.disk / 1e6:.1f}",
                f"{each.amplification.computed:.3f}" if windowed else "",
                f"{each.amplification.read:.3f}" if windowed else "",
            ]
