"""Rows `blocks`: what dividing a volume into blocks costs in time and saves in memory."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import yaml

from benchmarks.balls import Balls
from benchmarks.memory_worker import peak_bytes
from benchmarks.samples import Bench, Sized
from benchmarks.table import Limit, Row
from benchmarks.volume_worker import SOURCE, SPACING, UNIT, Cube, train
from parafovea.config import read_project
from parafovea.drivers.one_process import run_stage
from parafovea.geometry.grid import Grid, Shape
from parafovea.kinds.stages import stages
from parafovea.storage.layout import RECORD, RECORDS

logger = logging.getLogger(__name__)

NAME = "blocks"


class Size(NamedTuple):
    """Voxels of a volume, its blocks, those of a thin volume, and the steps of the training."""

    shape: Shape
    blocks: int
    thin: Shape
    thin_blocks: int
    steps: int
    seed: int
    disk_gb: int


SIZE = Sized(
    full=Size((1024, 1024, 1024), 64, (16, 8192, 8192), 16, 100, 0, 45),
    quick=Size((128, 256, 320), 4, (16, 320, 320), 3, 30, 1, 2),
)

#: Most memory of a job in blocks, in 1e9 bytes, and the most time of all over that of one block.
LIMIT_GB, LIMIT_TIME = 1.0, 1.15

#: Libraries that jobs import, loaded once in the process that they are forked from.
LOADED = ["torch", "zarr", "zarrs", "scipy.ndimage", "pandas", "cc3d"]


class Measured(NamedTuple):
    """A run: processor time of all jobs, the largest peak in bytes with its stage, their number."""

    seconds: float
    peak: int
    largest: str
    jobs: int


def job(config: Path, name: str, wildcards: dict[str, str], result: Path) -> None:
    """Run one job of a project, and write its processor time and peak memory."""
    os.chdir(config.parent)
    project = read_project(config)
    start = time.process_time()
    run_stage(project, stages()[name], wildcards)
    result.write_text(f"{time.process_time() - start} {peak_bytes()}")


def configured(folder: Path, shape: Shape, blocks: int) -> Path:
    """Write the config of a sample in blocks, and return its path."""
    place = folder / f"in_{blocks}"
    place.mkdir()
    source = folder / SOURCE
    if not source.exists():
        Balls(shape).write(source, Grid(shape, SPACING, unit=UNIT))
    window = [min(64, n // 16 * 16) for n in shape]
    task = {
        "model": str(folder / "model"),
        "blocks": blocks,
        "inference": {"window": window, "overlap": 0.0, "shards": blocks},
        "postprocess": {"classes": {"ball": {"min_voxels": 100}}},
    }
    values = {"samples": "samples.tsv", "tasks": {"balls": task}}
    (place / "config.yaml").write_text(yaml.safe_dump(values))
    (place / "samples.tsv").write_text(
        f"sample\ttask\tsource\ttruth\tmetadata\nballs\tballs\t{source}\t\t\n"
    )
    return place / "config.yaml"


def measured(config: Path) -> Measured:
    """Run every job of a project in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    before = Path.cwd()
    os.chdir(config.parent)
    try:
        project = read_project(config)
        jobs = [
            (stage.name, wildcards)
            for stage in project.stages("balls")
            for wildcards in project.jobs(stage, "balls")
        ]
    finally:
        os.chdir(before)
    seconds, peaks = 0.0, {}
    result = config.parent / "measured"
    for name, wildcards in jobs:
        process = context.Process(target=job, args=(config, name, wildcards, result))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{name} {wildcards} failed")
        taken, peak = result.read_text().split()
        seconds += float(taken)
        peaks[name] = max(peaks.get(name, 0), int(peak))
    largest = max(peaks, key=lambda name: peaks[name])
    logger.info("  %s: %d jobs, %.0f s, %s", config.parent.name, len(jobs), seconds, peaks)
    return Measured(seconds, peaks[largest], largest, len(jobs))


def content(folder: Path) -> str:
    """Return a hash of all results of a sample but its intermediate ones."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if (
            path.is_file()
            and inside.parts[0] not in ("blocks", "shards")
            and not {RECORD, RECORDS} & set(inside.parts)
        ):
            digest.update(f"{inside}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def compared(folder: Path, shape: Shape, blocks: int) -> list[Row]:
    """Return the rows of a volume in one block and in several."""
    one, several = (measured(configured(folder, shape, count)) for count in (1, blocks))
    results = [content(folder / f"in_{count}/results/balls") for count in (1, blocks)]
    size = " x ".join(map(str, shape))
    return [
        Row(
            NAME,
            f"peak memory of any job over {size} voxels in {blocks} blocks",
            several.peak / 1e9,
            unit="GB",
            limit=Limit("at most", LIMIT_GB),
            note=f"{several.largest}; in one block {one.peak / 1e9:.2f} GB ({one.largest})",
        ),
        Row(
            NAME,
            f"processor time of all jobs over {size} voxels in {blocks} blocks, over one block",
            several.seconds / one.seconds,
            unit="x",
            limit=Limit("at most", LIMIT_TIME),
            note=f"{several.jobs} jobs, {several.seconds:,.0f} s, and {one.jobs} jobs, "
            f"{one.seconds:,.0f} s, without the start of processes",
        ),
        Row(
            NAME,
            f"results over {size} voxels that are the same bytes in {blocks} blocks",
            100.0 if results[0] == results[1] else 0.0,
            unit="%",
            limit=Limit("at least", 100),
        ),
    ]


def run(bench: Bench) -> list[Row]:
    """Run a cube and a thin volume in one block and in several."""
    size = bench.of(SIZE)
    free = shutil.disk_usage(bench.scratch).free / 1e9
    if free < size.disk_gb:
        note = f"needs {size.disk_gb} GB in TMPDIR, {free:.0f} GB are free"
        return [Row(NAME, "volumes in blocks", None, note=note)]
    train(bench.scratch, Cube(0, size.steps, size.seed))
    rows = []
    for name, shape, blocks in (
        ("cube", size.shape, size.blocks),
        ("thin", size.thin, size.thin_blocks),
    ):
        folder = bench.scratch / name
        folder.mkdir()
        (folder / "model").symlink_to(bench.scratch / "model")
        rows += compared(folder, shape, blocks)
        shutil.rmtree(folder)
    return rows
