"""A folder of tiles that is predicted without a sample sheet, through the workflow's stages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parafovea.config import Project
from parafovea.drivers import run_tiles
from parafovea.errors import ConfigError
from parafovea.formats.tiles.ledger import read_quarantine
from parafovea.planning.costs import cost
from parafovea.planning.forecast import OF_TILES
from parafovea.planning.work import TileWork
from parafovea.runtime.devices import DEVICE_VARIABLE, choose_device
from parafovea.runtime.progress import Observer, Steps, observed
from parafovea.storage.layout import SampleResults


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
        Invalid tiles.
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
        Called with the progress.

    Returns
    -------
    Path
        Its page; all results are beside it.
    TileSummary
        What became of its tiles.

    Raises
    ------
    ParafoveaError
        If no tile is valid, with `tiles.strict` if any is not, or if something else fails.
    """
    work = TileWork(project.tile_sizes(sample), project.recipe(sample), project.inference(sample))
    steps = Steps({stage: cost(stage, work).seconds for stage in OF_TILES}, observer)
    with observed(steps.within):
        page, counts = run_tiles(project, sample, announce=steps.begin)
    results = SampleResults(page.parent)
    _remove_shares(results.tile_share(1).parent)
    reasons = {tile.name: tile.reason for tile in read_quarantine(results.quarantine)}
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
