"""Rows `ray`: what scans cost on a Ray cluster of this machine, and what its start does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.samples import Bench, Sized
from benchmarks.table import Limit, Row
from parafovea.config import Project
from parafovea.drivers import predict_scans as local
from parafovea.drivers.ray.cluster import connected, import_ray
from parafovea.drivers.ray.distributed import settings_of
from parafovea.drivers.ray.scans import predict_scans as on_ray
from parafovea.geometry.grid import Shape, Vector
from parafovea_phantoms import chest_phantom
from parafovea_phantoms.phantom_files import write_volume

logger = logging.getLogger(__name__)

NAME = "ray"

MODEL = Path("resources/models/nodule")

#: Scans at a time on both sides, and what a scan may cost on Ray over one without it.
WORKERS, MOST = 2, 1.15


class Size(NamedTuple):
    """Voxels of a scan and their spacing, and the numbers of scans of two runs."""

    shape: Shape
    spacing: Vector
    few: int
    many: int


SIZE = Sized(
    full=Size((100, 120, 150), (3.0, 2.5, 2.5), 2, 10),
    quick=Size((40, 52, 68), (6.0, 4.0, 4.0), 1, 2),
)


def scans(folder: Path, size: Size) -> dict[str, str]:
    """Write chests, and return their paths by name."""
    folder.mkdir()
    paths = {}
    for seed in range(size.many):
        phantom = chest_phantom(seed, shape=size.shape, spacing=size.spacing)
        path = folder / f"scan_{seed}.nii.gz"
        write_volume(path, phantom.image, phantom.grid, attributes={})
        paths[path.name.partition(".")[0]] = str(path)
    return paths


def seconds(run: Callable[[Project], Sequence[local.ScanResult]], project: Project) -> float:
    """Return how long a run takes; an error is raised if a scan fails."""
    start = time.perf_counter()
    failed = [each.error for each in run(project) if each.error is not None]
    if failed:
        raise RuntimeError(failed[0])
    return time.perf_counter() - start


def without_ray(project: Project) -> list[local.ScanResult]:
    """Predict the scans of a project as `parafovea predict --num-workers` does."""
    return list(local.predict_scans(project, workers=WORKERS))


def with_ray(project: Project) -> list[local.ScanResult]:
    """Predict the scans of a project on a cluster that is started for it."""
    with connected("local") as cluster:
        return on_ray(cluster, project, num_gpus=0)


def run(bench: Bench) -> list[Row]:
    """Predict few and many scans on both sides, in turns; the difference is free of any start."""
    import_ray()
    size = bench.of(SIZE)
    settings, task = settings_of(MODEL, None)
    paths = scans(bench.scratch / "scans", size)
    sides = {"ray": with_ray, "local": without_ray}
    each: dict[str, list[float]] = {name: [] for name in sides}
    starts: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(bench.rounds(3)):
        for name, side in sides.items():
            taken = {}
            for count in (size.few, size.many):
                project = local.project_of(
                    settings,
                    dict(list(paths.items())[:count]),
                    task=task,
                    results=bench.scratch / f"{name}_{number}_{count}",
                    divided=name == "ray",
                )
                taken[count] = seconds(side, project)
            each[name].append((taken[size.many] - taken[size.few]) / (size.many - size.few))
            starts[name].append(taken[size.few] - size.few * each[name][-1])
            logger.info("  %s: %s s, %.2f s a scan", name, taken, each[name][-1])
    ratios = sorted(a / b for a, b in zip(each["ray"], each["local"], strict=True))
    middle = ratios[len(ratios) // 2]
    note = (
        f"{size.few} and {size.many} scans of {' x '.join(map(str, size.shape))} voxels, "
        f"{WORKERS} at a time, on CPUs; seconds of each further scan, so that no start counts"
    )
    return [
        Row(
            NAME,
            f"a scan on Ray over predict --num-workers {WORKERS}",
            middle,
            limit=Limit("at most", MOST),
            spread=(ratios[0], ratios[-1]),
            seconds=each,
            note=note,
        ),
        Row(
            NAME,
            "start of a cluster, its actors and its workers",
            sorted(starts["ray"])[len(ratios) // 2],
            unit="s",
            note="the time of a run that is not its scans'; without Ray "
            f"{sorted(starts['local'])[len(ratios) // 2]:.1f} s",
        ),
    ]
