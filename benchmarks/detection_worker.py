"""One way from a heatmap to candidates, in a process of its own; prints its peak and seconds.

Run by `detection_speed`: `python -m benchmarks.detection_worker TASK FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.memory_worker import peak_bytes
from parafovea.geometry.grid import Box, Grid, Shape


class Heatmap(NamedTuple):
    """Voxels of a heatmap, and how many hills it has."""

    shape: Shape
    hills: int


#: Millimetres of a whole chest at full resolution.
SPACING = (1.0, 0.7, 0.7)

#: Radii of hills in mm, and their heights.
RADII = (1.5, 12.0)
HEIGHTS = (0.35, 1.0)

HEATMAP = "heatmap.ome.zarr"
THRESHOLD, MIN_DISTANCE = 0.3, 10.0


def grid_of(folder: Path) -> Grid:
    """Return the grid of the heatmap."""
    from parafovea.storage.store import open_stored

    return open_stored(folder / HEATMAP).grid


def prepare(folder: Path, heatmap: Heatmap) -> None:
    """Write a heatmap of smooth hills, as `blend_shards` stores one."""
    from parafovea.storage.store import create

    shape = heatmap.shape
    grid = Grid(shape, SPACING, unit="millimeter")
    random = np.random.default_rng(0)
    values = np.zeros(shape, np.float16)
    spacing = np.array(SPACING)
    for _ in range(heatmap.hills):
        radius, height = random.uniform(*RADII), random.uniform(*HEIGHTS)
        centre = random.uniform(0, np.array(shape))
        reach = np.ceil(3 * radius / spacing).astype(int)
        around = Box.sized((centre - reach).astype(int), 2 * reach + 1).intersection(grid.box)
        axes = np.ogrid[around.slices]
        squares = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True))
        hill = height * np.exp(-np.log(2) * squares / radius**2)
        values[around.slices] = np.maximum(values[around.slices], hill.astype(np.float16))
    with create(
        folder / HEATMAP, grid, dtype=np.float16, channels=["nodule"], shard=(64, 128, 128)
    ) as array:
        array[0] = values


def ours(folder: Path) -> int:
    """Return the number of candidates that the stage detect_nodules selects."""
    from parafovea.postprocess.detection.nodules import select_candidates
    from parafovea.settings.postprocess import DetectionSettings, PeakSettings
    from parafovea.stages.detect_nodules import open_heatmap

    settings = DetectionSettings(
        peak_detection=PeakSettings(threshold=THRESHOLD, min_distance=MIN_DISTANCE)
    )
    return len(select_candidates(open_heatmap(folder / HEATMAP), settings))


def by_scipy(folder: Path) -> int:
    """Return the number of candidates by plain scipy over the whole array.

    Maxima of a box as wide as the distance, components by `label`, sizes by `sum_labels`.
    """
    from scipy import ndimage

    from parafovea.storage.store import open_stored

    stored = open_stored(folder / HEATMAP)
    values = stored.read()[0].astype(np.float32)
    spacing = np.array(stored.grid.spacing)
    size = 2 * np.floor(MIN_DISTANCE / spacing).astype(int) + 1
    highest = ndimage.maximum_filter(values, size=tuple(size))
    peaks = np.argwhere((values == highest) & (values >= THRESHOLD))
    labels, count = ndimage.label(values >= THRESHOLD)
    voxels = ndimage.sum_labels(np.ones_like(values), labels, np.arange(1, count + 1))
    diameters = 2 * (3 * voxels * spacing.prod() / (4 * np.pi)) ** (1 / 3)
    kept = {int(labels[tuple(peak)]) for peak in peaks}
    return int(sum(3 <= diameters[label - 1] <= 30 for label in kept))


TASKS: dict[str, Callable[[Path], int]] = {"ours": ours, "scipy": by_scipy}


def main() -> None:
    """Do the task; print its candidates, its peak in bytes and its seconds, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    # libraries are loaded before the clock starts
    import scipy.ndimage  # noqa: F401

    import parafovea.stages.detect_nodules  # noqa: F401

    start = time.perf_counter()
    found = TASKS[given.task](given.folder)
    seconds = round(time.perf_counter() - start, 3)
    sys.stdout.write(json.dumps({"found": found, "peak_bytes": peak_bytes(), "seconds": seconds}))


if __name__ == "__main__":
    main()
