"""Whole scans with the body mask on and off (`inference.skip_empty`), in processor time.

Other work on the machine hardly changes that; a scan takes too long for many rounds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.measure import Work, in_turns
from benchmarks.samples import UNSEEN_SEED, Bench, times
from benchmarks.table import Row, ratio_row
from parafovea.config import Project, Settings
from parafovea.drivers.one_process import run_sample
from parafovea.drivers.predict_scans import project_of
from parafovea.geometry.grid import Grid, Shape, shape3
from parafovea.storage.store import open_stored
from parafovea_phantoms import chest_phantom
from parafovea_phantoms.phantom_files import write_volume

logger = logging.getLogger(__name__)

MODEL = Path(__file__).parents[1] / "resources" / "models" / "nodule"

#: Millimetres of a voxel.
SPACING = (4.0, 2.5, 2.5)

#: Voxels of fields of view: the first is filled by a chest, the others hold the same chest in air.
FILLED = "filled field of view"
SCANS: dict[str, Shape] = {FILLED: (64, 144, 144), "field of view of 500 mm": (64, 200, 200)}
QUICK_SCANS: dict[str, Shape] = {FILLED: (52, 100, 100)}

AIR = -1000


def rows(bench: Bench, name: str, scans: Mapping[str, Shape]) -> list[Row]:
    """Predict a chest in a tight and in a wide field of view, each with the mask and without."""
    phantom = chest_phantom(UNSEEN_SEED, shape=scans[FILLED], spacing=SPACING)
    found = []
    if not bench.quick:
        # a small scan first, uncounted: it loads libraries and chooses kernels
        tiny = QUICK_SCANS[FILLED]
        small = chest_phantom(UNSEEN_SEED, shape=tiny, spacing=SPACING)
        _work(_project(bench, _write(bench.scratch / "small.nii.gz", small.image, tiny), "on"))()
    for title, wide in scans.items():
        scan = _write(bench.scratch / f"chest_{wide[2]}.nii.gz", phantom.image, wide)
        works = {mask: _work(_project(bench, scan, mask)) for mask in ("on", "off")}
        seconds = in_turns(works, repeats=bench.rounds(2), warm_up=False)
        note = (
            f"{times(wide)} voxels, {min(seconds['on']):.1f} s with the mask, "
            f"{min(seconds['off']):.1f} s without; {_left_out(bench)}"
        )
        text = f"processor time of a whole scan, body mask off over on, {title}"
        found.append(ratio_row(name, text, seconds, ("off", "on"), note=note))
    return found


def _work(project: Project) -> Work:
    """Return a whole scan, from its file to its report, as work: seconds of the processor."""

    def work() -> float:
        start = time.process_time()
        run_sample(project, "scan")
        return time.process_time() - start

    return work


def _write(path: Path, chest: np.ndarray[tuple[int, ...], np.dtype[np.int16]], wide: Shape) -> Path:
    """Write a chest in the middle of a field of view of pure air."""
    before = shape3([(n - own) // 2 for n, own in zip(wide, chest.shape, strict=True)])
    scan = np.full(wide, AIR, np.int16)
    middle = tuple(slice(a, a + n) for a, n in zip(before, chest.shape, strict=True))
    scan[middle] = chest
    write_volume(path, scan, Grid(wide, SPACING, unit="millimeter"), attributes={})
    return path


def _project(bench: Bench, scan: Path, mask: str) -> Project:
    inference = {"overlap": 0.25, "skip_empty": mask == "on"}
    task = {"kind": "detection", "model": str(MODEL), "inference": inference}
    settings = Settings.model_validate({"tasks": {"nodules": task}})
    results = bench.scratch / mask
    return project_of(settings, {"scan": str(scan)}, task="nodules", results=results)


def _left_out(bench: Bench) -> str:
    blending = open_stored(bench.scratch / "on" / "scan" / "prediction.ome.zarr").attributes[
        "blending"
    ]
    windows = int(np.prod([len(starts) for starts in blending["starts"]]))
    return f"{blending['skipped_windows']} of {windows} windows left out"
