"""Scans that are predicted without a sample sheet, through the stages of the workflow."""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parafovea.chain import volumes
from parafovea.config import Project, Sample, Settings, assembled
from parafovea.config.sheet import NAME
from parafovea.drivers.one_process import run_sample
from parafovea.errors import ConfigError, ParafoveaError, describe
from parafovea.formats.location import locate, stem
from parafovea.kinds.reference import resolve
from parafovea.planning.costs import cost
from parafovea.planning.work import work_of
from parafovea.runtime.progress import Observer, Steps, observed
from parafovea.storage.layout import DETECTIONS, OBJECT_TABLE, SHARDS, VIEWS, matching, remove
from parafovea.storage.provenance import Clock
from parafovea.storage.store import replacing

#: What a scan needs only on the way: the results of the stages that every volume passes.
INTERMEDIATE = tuple(pattern for stage in volumes.STAGES for pattern in stage.patterns)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What became of one scan.

    Parameters
    ----------
    scan : str
        Its name, that of its folder of results.
    seconds : float
        How long it took.
    found : int or None
        Detections, or objects of a segmentation; None where it failed.
    error : str or None
        Why it failed.
    """

    scan: str
    seconds: float
    found: int | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of all scans.

    Parameters
    ----------
    num_scans : int
        Scans that were processed to the end.
    num_failed : int
        Scans that were not.
    total_detections : int
        Detections, or objects, of all scans.
    avg_time : float
        Seconds a scan.
    failed : dict of str to str
        The reason, by scan.
    """

    num_scans: int
    num_failed: int
    total_detections: int
    avg_time: float
    failed: dict[str, str]

    @classmethod
    def of(cls, results: Sequence[ScanResult]) -> Summary:
        """Return the summary of some scans."""
        done = [each for each in results if each.error is None]
        return cls(
            num_scans=len(done),
            num_failed=len(results) - len(done),
            total_detections=sum(each.found or 0 for each in done),
            avg_time=round(sum(each.seconds for each in done) / max(1, len(done)), 2),
            failed={each.scan: each.error for each in results if each.error is not None},
        )


def write_summary(path: Path, summary: Any) -> None:
    """Write a summary, a dataclass, as JSON, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(asdict(summary), indent=2) + "\n", encoding="utf-8")


def scans_in(folder: Path) -> dict[str, str]:
    """Return the scans of a folder by their names: files, and folders of slices.

    Parameters
    ----------
    folder : Path
        Where they lie; files of unknown formats and hidden ones are passed over.

    Raises
    ------
    ConfigError
        If there is none, two have one name, or a name is unfit for a folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: give the folder with the scans")
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not _is_scan(str(path)):
            continue
        name = scan_name(str(path))
        if name in found:
            raise ConfigError(
                f"{found[name]} and {path} would both be called {name!r}: rename one of them"
            )
        found[name] = str(path)
    if not found:
        raise ConfigError(
            f"{folder} holds no scan: give a folder with NIfTI, NRRD, MetaImage or TIFF files, "
            "zipped DICOM series, or folders of slices"
        )
    return found


def scan_name(source: str) -> str:
    """Return a scan's name by its file, or raise `ConfigError` where that cannot name a folder."""
    name = stem(source)
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{source} cannot name a folder of results: rename it to letters, digits, . _ and -"
        )
    return name


def _is_scan(source: str) -> bool:
    try:
        locate(source)
    except ParafoveaError:
        return False
    return True


def project_of(
    settings: Settings,
    scans: Mapping[str, str],
    *,
    task: str,
    results: Path,
    metadata: str = "",
    batch_size: int | None = None,
    full_precision: bool = False,
    overwrite: bool = False,
) -> Project:
    """Return a project of some scans, checked as one that has a sheet.

    Parameters
    ----------
    settings : Settings
        The config; its sheet is not read.
    scans : mapping of str to str
        Source by name.
    task : str
        Key of the task in the config.
    results : Path
        Folder of all results; each scan gets one of its name in it.
    metadata : str
        What the sources do not say themselves, as in a sheet.
    batch_size : int, optional
        Windows in one call of the network, instead of the task's.
    full_precision : bool
        Compute in float32, whatever the task says.
    overwrite : bool
        Predict finished tiles anew, whatever the task says.

    Raises
    ------
    ConfigError
        If there is no such task, or a scan is not there.
    ModelError
        If the task's model is not complete.
    """
    if task not in settings.tasks:
        raise ConfigError(
            f"task {task!r} is not in the config: tasks are {', '.join(settings.tasks)}"
        )
    chosen = settings.tasks[task].model_copy(update={"training": None})
    inference = chosen.inference.model_copy(update={"shards": 1})
    if batch_size is not None:
        inference = inference.model_copy(update={"batch_size": batch_size})
    if full_precision:
        inference = inference.model_copy(update={"precision": "float32"})
    changes: dict[str, Any] = {"inference": inference}
    if overwrite:
        changes["tiles"] = chosen.tiles.model_copy(update={"overwrite": True})
    tasks = {task: chosen.model_copy(update=changes)}
    samples = {
        name: Sample(name, task, source, None, metadata, None, number)
        for number, (name, source) in enumerate(scans.items(), start=1)
    }
    return assembled(
        settings.model_copy(update={"tasks": tasks, "results": str(results), "study": None}),
        samples,
        sheet=Path("command line"),
    )


def predict_scan(
    project: Project, scan: str, *, keep: bool = False, observer: Observer | None = None
) -> ScanResult:
    """Run all stages of a scan; its detections state when that was and how long it took.

    Parameters
    ----------
    project : Project
        As from `project_of`.
    scan : str
        Its name.
    keep : bool
        Keep the volume, its features and the prediction.
    observer : callable, optional
        Told of progress.

    Returns
    -------
    ScanResult
        With the reason where it failed by a user's mistake.
    """
    start, clock = time.perf_counter(), Clock.started()
    folder = Path(project.folder(scan))
    try:
        steps = Steps(_expected(project, scan), observer)
        with observed(steps.within):
            run_sample(project, scan, announce=steps.begin, clock=clock)
        found = _found(project, scan)
    except ParafoveaError as error:
        return ScanResult(scan, time.perf_counter() - start, None, describe(error))
    finally:
        if not keep:
            _forget(folder)
    return ScanResult(scan, time.perf_counter() - start, found)


def predict_scans(project: Project, *, workers: int, keep: bool = False) -> Iterator[ScanResult]:
    """Yield what became of each scan of a project, as they finish.

    Parameters
    ----------
    project : Project
        As from `project_of`.
    workers : int
        Scans at a time, each in a process of its own.
    keep : bool
        As for `predict_scan`.
    """
    # a forked process would share the threads of torch
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        waiting = [pool.submit(predict_scan, project, scan, keep=keep) for scan in project.samples]
        for future in as_completed(waiting):
            yield future.result()


def _expected(project: Project, scan: str) -> dict[str, float]:
    """Return the seconds that each stage of a scan may take."""
    work = work_of(project, scan)
    return {stage.name: cost(stage, work).seconds for stage in project.stages(scan)}


def _found(project: Project, scan: str) -> int:
    """Return how many detections or objects a scan has."""
    count = project.kind(scan).count
    return 0 if count is None else int(resolve(count)(Path(project.folder(scan))))


def count_detections(folder: Path) -> int:
    """Return the number of detections of a scan, by the folder of its results."""
    document = json.loads((folder / DETECTIONS).read_text(encoding="utf-8"))
    return len(document["detections"])


def count_objects(folder: Path) -> int:
    """Return the number of objects of a segmented volume, by the folder of its results."""
    return len((folder / OBJECT_TABLE).read_text(encoding="utf-8").splitlines()) - 1


def _forget(folder: Path) -> None:
    """Remove what was only needed on the way, empty folders included."""
    if not folder.is_dir():
        return
    for removal in remove(matching(folder, INTERMEDIATE)):
        logging.getLogger(__name__).debug("%s removed", removal.path)
    for name in (SHARDS, VIEWS):
        place = folder / name
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
