"""Rows `volume`: the peak memory of every stage over a volume that is never whole in memory."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from skimage.measure import label

from benchmarks.balls import Balls
from benchmarks.samples import Bench, Sized
from benchmarks.table import Limit, Row
from benchmarks.volume_worker import TASKS, Cube, source
from parafovea.errors import ParafoveaError
from parafovea.storage.store import open_stored

logger = logging.getLogger(__name__)

NAME = "volume"


class Size(NamedTuple):
    """A cube, and the disk that the results of all stages took, in 1e9 bytes."""

    cube: Cube
    disk_gb: int


#: The seed of the quick training is one by which so few steps find balls.
SIZE = Sized(full=Size(Cube(1024, 100, 0), 20), quick=Size(Cube(128, 30, 1), 1))

#: What is held at most, in 1e9 bytes.
LIMIT_GB = 2.0

#: Voxels of an edge of the cube that is labelled in memory, too.
WHOLE = 256


def worker(task: str, folder: Path, cube: Cube) -> dict[str, float]:
    """Run a task of `volume_worker` in a fresh process; return its peak in bytes and seconds."""
    command = [sys.executable, "-m", "benchmarks.volume_worker", task, str(folder)]
    for name, number in cube._asdict().items():
        command += [f"--{name}", str(number)]
    finished = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    measured = cast(dict[str, float], json.loads(finished.stdout))
    peak, seconds = measured["peak_bytes"] / 1e6, measured["seconds"]
    logger.info("  %d³ voxels, %s: %.0f MB, %.1f s", cube.edge, task, peak, seconds)
    return measured


def same_objects(folder: Path, edge: int) -> float:
    """Return the share of voxels whose object is that of the same volume labelled in memory.

    Parameters
    ----------
    folder : Path
        Results of a volume of which a corner fits the memory.
    edge : int
        Voxels of its edge; objects that reach beyond the corner are compared inside of it.
    """
    side = min(edge, WHOLE)
    corner = (slice(0, side),) * 3
    classes = np.asarray(open_stored(folder / "classes.ome.zarr").array[corner])
    objects = np.asarray(open_stored(folder / "objects.ome.zarr").array[corner])
    whole = label(classes > 0, connectivity=3)
    pairs = pd.DataFrame({"ours": objects.ravel(), "whole": whole.ravel()}).value_counts()
    # one to one: each pair of ids is the only one of both of its ids
    table = pairs.rename("voxels").reset_index()
    single = ~table.duplicated("ours", keep=False) & ~table.duplicated("whole", keep=False)
    return float(100 * table.voxels[single].sum() / objects.size)


def run(bench: Bench) -> list[Row]:
    """Run every stage in a process of its own; return their peaks and what was found."""
    cube, needed = bench.of(SIZE)
    edge = cube.edge
    free = shutil.disk_usage(bench.scratch).free / 1e9
    if free < needed:
        note = f"needs {needed} GB in TMPDIR, {free:.0f} GB are free"
        return [Row(NAME, f"peak memory over {edge}³ voxels", None, unit="GB", note=note)]
    source(bench.scratch, cube)
    measured = {task: worker(task, bench.scratch, cube) for task in TASKS}
    stages = {task: found for task, found in measured.items() if task != "train"}
    balls = Balls((edge, edge, edge)).count
    found = len(pd.read_csv(bench.scratch / "objects.tsv", sep="\t"))
    if not found:
        raise ParafoveaError("nothing was found: the network of this benchmark did not learn")
    how = ", ".join(
        f"{task} {each['peak_bytes'] / 1e6:,.0f} MB in {each['seconds']:,.0f} s"
        for task, each in stages.items()
    )
    peak = max(each["peak_bytes"] for each in stages.values()) / 1e9
    return [
        Row(
            NAME,
            f"peak memory of any stage over {edge}³ voxels, {edge**3 / 1e9:.2f} GB",
            peak,
            unit="GB",
            limit=Limit("at most", LIMIT_GB),
            note=f"each stage in a process of its own: {how}",
        ),
        Row(
            NAME,
            f"objects over the {balls:,} balls that are there",
            found / balls,
            note="balls cross the borders of blocks, slabs and windows",
        ),
        Row(
            NAME,
            "voxels whose object is that of the volume labelled in memory",
            same_objects(bench.scratch, edge),
            unit="%",
            limit=Limit("at least", 100),
            note=f"{min(edge, WHOLE)}³ voxels of it",
        ),
    ]
