"""A folder of tiles that is predicted without a sample sheet, through the workflow's stages."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parafovea.chain.tile_stages import predict_tiles
from parafovea.config import Project
from parafovea.drivers.one_process import run_stages
from parafovea.errors import ConfigError
from parafovea.planning.reference_rates import cost
from parafovea.planning.work import work_of
from parafovea.runtime.devices import DEVICE_VARIABLE, choose_device
from parafovea.runtime.progress import Observer, Steps, observed
from parafovea.stages.predict_tiles import TileCounts
from parafovea.storage.layout import PAGE, QUARANTINE, SHARDS


@dataclass(frozen=True, slots=True)
class TileSummary:
    """What became of a folder of tiles.

    Parameters
    ----------
    num_tiles : int
        Tiles of the folder.
    num_out : int
        Tiles with a result.
    num_finished_before : int
        Of these, those that were finished before.
    num_quarantined : int
        Tiles that are no good.
    tiles_per_second : float
        Of those that were predicted now, reading and writing included.
    seconds : float
        From the first tile to the last.
    cpu_fallbacks : int
        How often the CPU took over because a GPU had too little memory.
    fallbacks : list of str
        What did not fit memory, a smaller batch included: a sentence each.
    quarantined : dict of str to str
        The reason, by tile.
    """

    num_tiles: int
    num_out: int
    num_finished_before: int
    num_quarantined: int
    tiles_per_second: float
    seconds: float
    cpu_fallbacks: int
    fallbacks: list[str]
    quarantined: dict[str, str]


def predict_folder(
    project: Project, sample: str, *, observer: Observer | None = None
) -> tuple[Path, TileSummary]:
    """Run all stages of a folder of tiles.

    Parameters
    ----------
    project : Project
        As from `prediction.project_of`.
    sample : str
        Its name.
    observer : callable, optional
        Told of progress.

    Returns
    -------
    Path
        Its page; all results lie beside it.
    TileSummary
        What became of its tiles.

    Raises
    ------
    ParafoveaError
        If no tile is good, or with `tiles.strict` not all are, or something else fails.
    """
    work = work_of(project, sample)
    expected = {stage.name: cost(stage, work).seconds for stage in project.stages(sample)}
    steps = Steps(expected, observer)
    with observed(steps.within):
        returned = run_stages(project, sample, announce=steps.begin)
    counts: TileCounts = returned[predict_tiles.name]
    folder = Path(project.folder(sample))
    page = folder / PAGE
    _remove_shares(folder / SHARDS)
    reasons = _reasons(folder / QUARANTINE)
    done = counts.predicted + counts.finished
    return page, TileSummary(
        num_tiles=done + counts.quarantined,
        num_out=done,
        num_finished_before=counts.finished,
        num_quarantined=counts.quarantined,
        tiles_per_second=round(counts.tiles_per_second, 2),
        seconds=round(counts.seconds, 2),
        cpu_fallbacks=counts.cpu_fallbacks,
        fallbacks=list(counts.fallbacks),
        quarantined=reasons,
    )


@contextlib.contextmanager
def on_device(device: str | None) -> Iterator[None]:
    """Let all that is computed in this block, also in processes that it starts, use a device.

    Parameters
    ----------
    device : str or None
        "cpu", "cuda" or "cuda:1"; None lets each process choose.

    Raises
    ------
    ConfigError
        If there is no such device.
    """
    if device is None:
        yield
        return
    before = os.environ.get(DEVICE_VARIABLE)
    os.environ[DEVICE_VARIABLE] = device
    try:
        _check_device(device)
        yield
    finally:
        if before is None:
            del os.environ[DEVICE_VARIABLE]
        else:
            os.environ[DEVICE_VARIABLE] = before


def _check_device(device: str) -> None:
    try:
        choose_device()
    except ConfigError as error:
        reason = str(error).replace(f"{DEVICE_VARIABLE}={device}", f"--device {device}")
        raise ConfigError(reason.replace("unset it", "leave it out")) from None


def _remove_shares(folder: Path) -> None:
    for ledger in folder.glob("*.tsv"):
        ledger.unlink()
    folder.rmdir()


def _reasons(quarantine: Path) -> dict[str, str]:
    with quarantine.open(encoding="utf-8", newline="") as stream:
        return {row["name"]: row["reason"] for row in csv.DictReader(stream, delimiter="\t")}
