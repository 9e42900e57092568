"""Prediction of a folder of tiles without a sample sheet, through the workflow's stages."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parafovea.chain.tile_stages import predict_tiles
from parafovea.config import Project
from parafovea.drivers.one_process import run_stages
from parafovea.drivers.predict_scans import ScanResult, without_sheet
from parafovea.errors import ConfigError, ParafoveaError, describe
from parafovea.formats.tiles.ledger import read_ledger
from parafovea.planning.reference_rates import cost
from parafovea.planning.work import work_of
from parafovea.runtime.devices import DEVICE_VARIABLE, choose_device
from parafovea.runtime.progress import Observer, Steps, observed
from parafovea.stages.predict_tiles import TileCounts
from parafovea.storage.layout import LEDGER, PAGE, QUARANTINE, RECORDS, SHARDS
from parafovea.storage.store import discard


@dataclass(frozen=True, slots=True)
class TileSummary:
    """Summary of a folder of tiles.

    Parameters
    ----------
    num_tiles : int
        Number of tiles in the folder.
    num_out : int
        Number of tiles with a result.
    num_finished_before : int
        Number of tiles finished in an earlier run.
    num_quarantined : int
        Number of invalid tiles.
    tiles_per_second : float
        Rate of the tiles predicted in this run, including reading and writing.
    seconds : float
        Duration from the first tile to the last.
    cpu_fallbacks : int
        Number of fallbacks to the CPU because a GPU ran out of memory.
    fallbacks : list of str
        A sentence for each lack of memory, including reductions of the batch.
    quarantined : dict of str to str
        Reason by tile.
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

    @classmethod
    def of(cls, folder: Path, counts: Sequence[TileCounts], seconds: float) -> TileSummary:
        """Return the summary of a folder of tiles.

        Parameters
        ----------
        folder : Path
            Folder of its results.
        counts : sequence of TileCounts
            Of the shares that were predicted in this run.
        seconds : float
            Duration from the first tile to the last.
        """
        predicted = sum(each.predicted for each in counts)
        reasons = _reasons(folder / QUARANTINE)
        done = len(read_ledger(folder / LEDGER))
        return cls(
            num_tiles=done + len(reasons),
            num_out=done,
            num_finished_before=done - predicted,
            num_quarantined=len(reasons),
            tiles_per_second=round(predicted / seconds if seconds else 0.0, 2),
            seconds=round(seconds, 2),
            cpu_fallbacks=sum(each.cpu_fallbacks for each in counts),
            fallbacks=[text for each in counts for text in each.fallbacks],
            quarantined=reasons,
        )


@dataclass(frozen=True, slots=True)
class MosaicSummary:
    """What became of a mosaic.

    Parameters
    ----------
    num_mosaics : int
        1 where it was refined, else 0.
    num_failed : int
        1 where it was not.
    num_blocks : int
        Blocks of 256 x 256 pixels of which at least half were measured.
    values_measured, values_clipped : int
        Values of these blocks, one for each band of a measured pixel, and those of them that the
        scale put outside [0, 1].
    seconds : float
        How long it took.
    failed : dict of str to str
        The reason, by its name.
    """

    num_mosaics: int
    num_failed: int
    num_blocks: int
    values_measured: int
    values_clipped: int
    seconds: float
    failed: dict[str, str]

    @classmethod
    def of(cls, result: ScanResult, folder: Path) -> MosaicSummary:
        """Return the summary of a mosaic by the folder of its results."""
        blocks = () if result.error is not None else read_ledger(folder / LEDGER)
        return cls(
            num_mosaics=int(result.error is None),
            num_failed=int(result.error is not None),
            num_blocks=len(blocks),
            values_measured=sum(block.measured for block in blocks),
            values_clipped=sum(block.clipped for block in blocks),
            seconds=round(result.seconds, 2),
            failed={} if result.error is None else {result.scan: result.error},
        )


def predict_folder(
    project: Project, sample: str, *, observer: Observer | None = None
) -> tuple[Path, TileSummary]:
    """Run all stages of a folder of tiles.

    Parameters
    ----------
    project : Project
        Project from `predict_scans.project_of`.
    sample : str
        Name of the sample.
    observer : callable, optional
        Called with the current stage and the share of the work that is done.

    Returns
    -------
    Path
        The report; all results are beside it.
    TileSummary
        Summary of its tiles.

    Raises
    ------
    ParafoveaError
        If no tile is valid, if any is invalid with `tiles.strict`, or if a stage fails.
    """
    work = work_of(project, sample)
    expected = {stage.name: cost(stage, work).seconds for stage in project.stages(sample)}
    steps = Steps(expected, observer)
    try:
        with observed(steps.within):
            returned = run_stages(project, sample, announce=steps.begin)
    except ParafoveaError as error:
        raise type(error)(without_sheet(describe(error))) from error
    counts: TileCounts = returned[predict_tiles.name]
    folder = Path(project.folder(sample))
    _remove_shares(folder / SHARDS)
    return folder / PAGE, TileSummary.of(folder, [counts], counts.seconds)


@contextlib.contextmanager
def on_device(device: str | None) -> Iterator[None]:
    """Select the device for computations in this block and in the processes that it starts.

    Parameters
    ----------
    device : str or None
        "cpu", "cuda" or "cuda:1"; None for automatic selection.

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
        raise ConfigError(reason.replace("unset it", "omit it")) from None


def _remove_shares(folder: Path) -> None:
    """Remove the ledgers of all shards, and what the workflow recorded of them."""
    discard(folder / RECORDS)
    for ledger in folder.glob("*.tsv"):
        ledger.unlink()
    folder.rmdir()


def _reasons(quarantine: Path) -> dict[str, str]:
    with quarantine.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t")
        return {row["name"]: without_sheet(row["reason"]) for row in rows}
