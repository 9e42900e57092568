"""Rows `memory`: how the peak memory of inference grows with the volume."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import available_gb
from benchmarks.samples import Bench, random_model, read_fused_spec
from benchmarks.table import Limit, Row
from parafovea.models.spec import ModelSpec

logger = logging.getLogger(__name__)

NAME = "memory"

OVERLAP = 0.25

#: A network that is small enough to see 384³ voxels twice in minutes; ours and MONAI's alike.
NETWORK = {"base_channels": 8, "max_channels": 16}

#: What Python, torch and the network need beside arrays of the volume's size, in 1e9 bytes.
BASE_GB = 1.0


@dataclass(frozen=True)
class Peaks:
    """Peak memory of one side at two sizes, in bytes; None where it was not run."""

    small: int | None
    large: int | None

    @property
    def growth(self) -> float | None:
        """By how many percent the peak grew."""
        if self.small is None or self.large is None:
            return None
        return 100 * (self.large / self.small - 1)

    def __str__(self) -> str:
        texts = ("?" if n is None else f"{n / 2**20:,.0f} MiB" for n in (self.small, self.large))
        return " to ".join(texts)


def _worker(task: str, folder: Path, model: Path, *, edge: int) -> int:
    """Run `memory_worker` in a fresh process and return its peak memory in bytes."""
    command = [sys.executable, "-m", "benchmarks.memory_worker", task, str(folder), str(model)]
    command += ["--edge", str(edge), "--overlap", str(OVERLAP)]
    finished = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    return int(json.loads(finished.stdout)["peak_bytes"])


def monai_needs_gb(spec: ModelSpec, edge: int) -> float:
    """Return what MONAI holds for a cube: all channels, all classes and the counts in float32."""
    channels = spec.input_channels + spec.context_channels + len(spec.classes) + 1
    return BASE_GB + 4 * channels * edge**3 / 1e9


def run(bench: Bench) -> list[Row]:
    """Measure the peak of infer_shard and blend_shards, and of MONAI, at two sizes."""
    small, large = (64, 128) if bench.quick else (128, 384)
    model = (bench.scratch / "small_network").resolve()
    spec = random_model(model, read_fused_spec(bench.model), **NETWORK)
    ours: list[int] = []
    monai: list[int | None] = []
    note = (
        f"network of {NETWORK['base_channels']} to {NETWORK['max_channels']} channels, "
        f"overlap {OVERLAP}"
    )
    lacking = ""
    for edge in (small, large):
        folder = (bench.scratch / str(edge)).resolve()
        logger.info("  %d³ voxels: features", edge)
        _worker("prepare", folder, model, edge=edge)
        logger.info("  %d³ voxels: ours", edge)
        ours.append(_worker("ours", folder, model, edge=edge))
        needed, free = monai_needs_gb(spec, edge), available_gb()
        if needed > free:
            lacking = f"at {edge}³ not run: needs {needed:.0f} GB, {free:.0f} GB are free"
            monai.append(None)
        else:
            logger.info("  %d³ voxels: MONAI", edge)
            monai.append(_worker("monai", folder, model, edge=edge))
    return _rows(Peaks(*ours), Peaks(*monai), f"from {small}³ to {large}³ voxels", note, lacking)


def _rows(ours: Peaks, monai: Peaks, sizes: str, note: str, lacking: str) -> list[Row]:
    logger.info("  ours %s, MONAI %s", ours, monai)
    return [
        Row(
            NAME,
            f"growth of our peak memory {sizes}",
            ours.growth,
            unit="%",
            limit=Limit("at most", 15),
            note=f"{ours}; {note}",
        ),
        Row(
            NAME,
            f"growth of MONAI's peak memory {sizes}",
            monai.growth,
            unit="%",
            note="; ".join(part for part in (str(monai), note, lacking) if part),
        ),
    ]
