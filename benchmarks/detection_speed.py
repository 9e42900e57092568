"""Rows `detection`: from a heatmap to candidates beside plain scipy; scans with the body mask."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

from benchmarks import body_mask
from benchmarks.detection_worker import Heatmap, prepare
from benchmarks.samples import Bench, Sized, times
from benchmarks.table import Limit, Row, ratio_row
from parafovea.geometry.grid import Shape

logger = logging.getLogger(__name__)

NAME = "detection"


class Sizes(NamedTuple):
    """A heatmap, and the voxels of whole scans by what they are called."""

    heatmap: Heatmap
    scans: Mapping[str, Shape]


SIZE = Sized(
    full=Sizes(Heatmap((300, 512, 512), 300), body_mask.SCANS),
    quick=Sizes(Heatmap((60, 128, 128), 15), body_mask.QUICK_SCANS),
)

#: What is allowed, in seconds and 1e9 bytes.
SECONDS, MEMORY_GB = 5.0, 4.0


def worker(task: str, folder: Path) -> dict[str, float]:
    """Run a task of `detection_worker` in a fresh process."""
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.detection_worker", task, str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    measured = cast(dict[str, float], json.loads(finished.stdout))
    logger.info("  %s: %s", task, measured)
    return measured


def run(bench: Bench) -> list[Row]:
    """Find candidates by our stage and by scipy, in turns; return time, memory and their ratio."""
    size = bench.of(SIZE)
    prepare(bench.scratch, size.heatmap)
    shape = times(size.heatmap.shape)
    rounds = {name: [] for name in ("ours", "scipy")}  # type: dict[str, list[dict[str, float]]]
    for _ in range(bench.rounds(3)):
        for name, found in rounds.items():
            found.append(worker(name, bench.scratch))
    seconds = {name: [each["seconds"] for each in found] for name, found in rounds.items()}
    peaks = {name: max(e["peak_bytes"] for e in found) / 1e9 for name, found in rounds.items()}
    counts = {name: int(found[0]["found"]) for name, found in rounds.items()}
    note = (
        f"heatmap of {shape} voxels in float16 from disk; {counts['ours']} candidates, by scipy "
        f"{counts['scipy']}; peak {peaks['ours']:.2f} GB, by scipy {peaks['scipy']:.2f} GB"
    )
    return [
        Row(
            NAME,
            f"heatmap of {shape} to candidates",
            min(seconds["ours"]),
            unit="s",
            limit=Limit("at most", SECONDS),
            note=note,
        ),
        Row(
            NAME,
            "peak memory",
            peaks["ours"],
            unit="GB",
            limit=Limit("at most", MEMORY_GB),
            note=note,
        ),
        ratio_row(NAME, "time of plain scipy over ours", seconds, ("scipy", "ours"), note=note),
        *body_mask.rows(bench, NAME, size.scans),
    ]
