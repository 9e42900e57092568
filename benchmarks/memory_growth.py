"""Rows `memory`: how the peak memory of inference grows with the volume."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

from benchmarks.machine import available_gb
from benchmarks.memory_worker import prepare
from benchmarks.samples import Bench, Sized, read_fused_spec, times
from benchmarks.table import Limit, Row
from parafovea.settings.recipe import ModelSpec

logger = logging.getLogger(__name__)

NAME = "memory"


class Cubes(NamedTuple):
    """Voxels of the edges of two cubes, and the share of a window that its neighbour covers too.

    The overlap is less than the usual half, ours and MONAI's alike: 384³ voxels are then 343
    windows, not 1331. How often a voxel is predicted hardly matters for the memory of either side.
    """

    edges: tuple[int, int]
    overlap: float


SIZE = Sized(full=Cubes((128, 384), 0.125), quick=Cubes((64, 128), 0.0))

#: What Python, torch and the network need beside arrays of the volume's size, in 1e9 bytes.
BASE_GB = 1.5

#: Peaks in bytes, by what was measured; None where it was not run.
Peaks = dict[str, int | None]


def worker(task: str, folder: Path, model: Path, *, edge: int, overlap: float) -> dict[str, int]:
    """Run a task of `memory_worker` in a fresh process and return its peaks in bytes."""
    command = [sys.executable, "-m", "benchmarks.memory_worker", task, str(folder), str(model)]
    command += ["--overlap", str(overlap)]
    logger.info("  %d³ voxels: %s", edge, task)
    finished = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    return cast(dict[str, int], json.loads(finished.stdout))


def monai_needs_gb(spec: ModelSpec, edge: int) -> float:
    """Return what MONAI holds for a cube: all channels, all classes and the counts in float32."""
    channels = spec.input_channels + spec.context_channels + len(spec.classes) + 1
    return BASE_GB + 4 * channels * edge**3 / 1e9


def growth(peaks: tuple[int | None, int | None]) -> float | None:
    """Return by how many percent a peak grew; None where one of the two is missing."""
    small, large = peaks
    return None if small is None or large is None else 100 * (large / small - 1)


def described(peaks: tuple[int | None, int | None]) -> str:
    """Return two peaks as text: 510 to 540 MiB."""
    small, large = ("?" if n is None else f"{n / 2**20:,.0f}" for n in peaks)
    return f"{small} to {large} MiB"


def run(bench: Bench) -> list[Row]:
    """Measure the peak of infer_shard and blend_shards, and of MONAI, at two sizes."""
    spec, model = read_fused_spec(bench.model), bench.model.resolve()
    edges, overlap = bench.of(SIZE)
    task = partial(worker, model=model, overlap=overlap)
    peaks: list[Peaks] = []
    lacking = ""
    for edge in edges:
        folder = (bench.scratch / str(edge)).resolve()
        logger.info("  %d³ voxels: preparing", edge)
        prepare(folder, model, edge=edge)
        found: Peaks = {"MONAI": None, **task("ours", folder, edge=edge)}
        needed, free = monai_needs_gb(spec, edge), available_gb()
        if needed <= free:
            found["MONAI"] = task("monai", folder, edge=edge)["peak_bytes"]
        else:
            lacking = f"; {edge}³ not run: needs {needed:.0f} GB, {free:.0f} GB are free"
        peaks.append(found)
    both, inferred, theirs = (
        (peaks[0][key], peaks[1][key]) for key in ("peak_bytes", "infer_peak_bytes", "MONAI")
    )
    sizes = f"from {edges[0]}³ to {edges[1]}³ voxels"
    how = f"windows of {times(spec.window)}, overlap {overlap}"
    return [
        Row(
            NAME,
            f"growth of our peak memory {sizes}",
            growth(both),
            unit="%",
            limit=Limit("at most", 15),
            note=f"infer_shard, then blend_shards in one process, {how}: {described(both)}; "
            f"infer_shard alone {described(inferred)}",
        ),
        Row(
            NAME,
            f"growth of MONAI's peak memory {sizes}",
            growth(theirs),
            unit="%",
            note=f"{how}: {described(theirs)}{lacking}",
        ),
    ]
