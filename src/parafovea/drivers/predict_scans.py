"""Prediction of scans without a sample sheet, through the stages of the workflow."""

from __future__ import annotations

import functools
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea.chain import volume_chain
from parafovea.config import Project, Sample, Settings, assembled
from parafovea.config.dicom_output import writes_dicom
from parafovea.config.extras import require_packages
from parafovea.drivers.one_process import run_sample
from parafovea.errors import ConfigError, ParafoveaError, SourceError, describe, shown
from parafovea.formats.location import holds_tiles, locate, source_files, stem
from parafovea.formats.registry import format_of_file
from parafovea.kinds import kind_named
from parafovea.kinds.reference import resolve
from parafovea.planning.reference_rates import cost
from parafovea.planning.work import work_of
from parafovea.runtime.names import folder_problem, name_problem
from parafovea.runtime.processes import in_processes
from parafovea.runtime.progress import Observer, Steps, observed
from parafovea.storage.layout import (
    BLOCKS,
    DETECTIONS,
    IMAGE,
    OBJECT_TABLE,
    SHARDS,
    VIEWS,
    matching,
    remove,
)
from parafovea.storage.provenance import Clock
from parafovea.storage.store import replacing

LOGGER = logging.getLogger(__name__)

#: Intermediate results of a scan: those of the stages common to all volumes, links to them, and
#: what is left of blocks.
INTERMEDIATE = (
    *dict.fromkeys(pattern for stage in volume_chain.STAGES for pattern in stage.patterns),
    IMAGE,
    BLOCKS,
)


#: Stands for the sample sheet, which scans of the command line have none of.
SHEET = Path("command line")

#: What messages say of the sheet: the line of a sample, and where its metadata are stated.
_LINE = re.compile(rf"^{SHEET}:\d+: ", re.MULTILINE)
_COLUMN = re.compile(r"in the metadata column(?: of (?:its line in )?the sample sheet)?")
#: Reason of a scan whose process ended without a word.
ENDED = (
    "the process that predicted it was ended by the system: it may have needed more memory than "
    "there is, or the file is damaged; predict it alone to see which"
)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Outcome of one scan.

    Parameters
    ----------
    scan : str
        Name of the scan and of its results folder.
    seconds : float
        Duration.
    found : int or None
        Number of detections, or objects of a segmentation; None if it failed.
    error : str or None
        Reason of the failure.
    foreseen : bool
        Whether the reason is in Parafovea's own words; otherwise it is the type of an error and
        what it says.
    """

    scan: str
    seconds: float
    found: int | None
    error: str | None = None
    foreseen: bool = True


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of all scans.

    Parameters
    ----------
    num_scans : int
        Number of scans that were processed.
    num_failed : int
        Number of scans that failed.
    counted : str
        What is counted in them, such as "detections"; empty if nothing is.
    total : int
        Number of these in all scans.
    seconds_per_scan : float
        Mean duration of those that were processed.
    failed : dict of str to str
        Reason of the failure, by scan.
    """

    num_scans: int
    num_failed: int
    counted: str
    total: int
    seconds_per_scan: float
    failed: dict[str, str]

    @classmethod
    def of(cls, results: Sequence[ScanResult], counted: str) -> Summary:
        """Return the summary of some scans."""
        done = [each for each in results if each.error is None]
        return cls(
            num_scans=len(done),
            num_failed=len(results) - len(done),
            counted=counted,
            total=sum(each.found or 0 for each in done),
            seconds_per_scan=round(sum(each.seconds for each in done) / max(1, len(done)), 2),
            failed={each.scan: each.error for each in results if each.error is not None},
        )

    def values(self) -> dict[str, Any]:
        """Return the content of summary.json."""
        return {
            "num_scans": self.num_scans,
            "num_failed": self.num_failed,
            **({f"total_{self.counted}": self.total} if self.counted else {}),
            "seconds_per_scan": self.seconds_per_scan,
            "failed": self.failed,
        }


def write_summary(path: Path, values: Mapping[str, Any]) -> None:
    """Write the values of a summary as JSON, atomically."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class FolderScans:
    """What a folder of scans holds.

    Parameters
    ----------
    scans : dict of str to str
        Source by name, of the scans that can be predicted.
    unfit : dict of str to str
        Why a scan cannot be predicted, by the name of its file or folder.
    left_out : tuple of str
        Names of what is no scan, by its ending.
    """

    scans: dict[str, str]
    unfit: dict[str, str]
    left_out: tuple[str, ...]

    @property
    def failed(self) -> list[ScanResult]:
        """What became of the scans that cannot be predicted."""
        return [ScanResult(name, 0.0, None, reason) for name, reason in self.unfit.items()]


def scans_in(folder: Path, *, tiles: bool = True) -> FolderScans:
    """Return the scans of a folder: files, and folders of slices.

    Parameters
    ----------
    folder : Path
        Folder of the scans; hidden files are ignored. An invalid file or name affects no other
        scan.
    tiles : bool
        Whether the task takes folders of tiles.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: give the folder with the scans")
    named: dict[str, list[Path]] = {}
    unfit: dict[str, str] = {}
    left_out = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        try:
            locate(str(path))
            source_files(str(path))
        except ParafoveaError as error:
            if format_of_file(path.name) is None:
                left_out.append(path.name)
            else:
                unfit[path.name] = describe(error)
            continue
        if not tiles and holds_tiles(str(path)):
            unfit[path.name] = f"{path} is a folder of tiles, which this kind of task does not take"
            continue
        try:
            named.setdefault(scan_name(str(path)), []).append(path)
        except ConfigError as error:
            unfit[path.name] = describe(error)
    for name, paths in named.items():
        for path in paths if len(paths) > 1 else ():
            others = ", ".join(str(other) for other in paths if other != path)
            unfit[path.name] = (
                f"{path} and {others} have the same name {name!r}: rename one of them"
            )
    scans = {name: str(paths[0]) for name, paths in named.items() if len(paths) == 1}
    if not scans and not unfit:
        raise ConfigError(
            f"{folder} has no scans: give a folder with NIfTI, NRRD, MetaImage or TIFF files, "
            "zipped DICOM series, or folders of slices"
        )
    return FolderScans(scans, unfit, tuple(left_out))


def scan_name(source: str) -> str:
    """Return a scan's name from its file, or raise `ConfigError` if it is invalid for a folder."""
    name = stem(source)
    if folder_problem(name) is not None:
        raise ConfigError(
            f"{shown(source)} cannot name a folder of results: rename it to letters, digits, . _ "
            "and -, or predict it alone with --output and the folder of its results"
        )
    return name


def result_folder(source: str, output: Path | None) -> Path:
    """Return the folder of the results of one scan, named after it unless the user names one."""
    if output is None:
        return Path("results") / scan_name(source)
    # `.` and `..` have no name of their own
    return output if output.name not in ("", "..") else output.resolve()


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
    divided: bool = False,
    dicom_output: bool | None = None,
) -> Project:
    """Return a checked project of scans without a sheet.

    Parameters
    ----------
    settings : Settings
        The config; its sheet is not read.
    scans : mapping of str to str
        Sources by name.
    task : str
        Key of the task in the config.
    results : Path
        Results folder; each scan gets a folder in it.
    metadata : str
        Metadata missing from the sources, as in a sheet.
    batch_size : int, optional
        Windows per forward pass, instead of the task's setting.
    full_precision : bool
        Compute in float32, regardless of the task's setting.
    overwrite : bool
        Predict finished tiles again, regardless of the task's setting.
    divided : bool
        Share windows and tiles among as many jobs as the task says, instead of one a scan.
    dicom_output : bool, optional
        Whether to write DICOM objects, too; by default as the task says.

    Raises
    ------
    ConfigError
        If there is no such task.
    SourceError
        If a scan does not exist.
    ModelError
        If the task's model is incomplete.
    MissingExtraError
        If packages are not installed that it needs.
    """
    if task not in settings.tasks:
        raise ConfigError(
            f"task {task!r} is not in the config: tasks are {', '.join(settings.tasks)}"
        )
    chosen = settings.tasks[task].model_copy(update={"training": None})
    inference = chosen.inference
    if not divided:
        inference = inference.model_copy(update={"shards": 1})
    if batch_size is not None:
        inference = inference.model_copy(update={"batch_size": batch_size})
    if full_precision:
        inference = inference.model_copy(update={"precision": "float32"})
    changes: dict[str, Any] = {"inference": inference}
    if dicom_output is not None:
        if dicom_output and not writes_dicom(kind_named(chosen.kind)):
            raise ConfigError(
                f"task {task!r} is of kind {chosen.kind}, whose results are not written as DICOM "
                "objects: leave --dicom-output out"
            )
        changes["dicom_output"] = dicom_output
    if overwrite:
        changes["tiles"] = chosen.tiles.model_copy(update={"overwrite": True})
    for name in scans:
        problem = name_problem(name)
        if problem is not None:
            raise ConfigError(f"a folder of results names its scan: {problem}")
    tasks = {task: chosen.model_copy(update=changes)}
    samples = {
        name: Sample(name, task, source, None, metadata, None, number)
        for number, (name, source) in enumerate(scans.items(), start=1)
    }
    chosen_settings = {"tasks": tasks, "results": str(results), "study": None, "measured": None}
    try:
        project = assembled(settings.model_copy(update=chosen_settings), samples, sheet=SHEET)
    except ConfigError as error:
        raise ConfigError(without_sheet(str(error))) from error
    if project.absent:
        raise SourceError(without_sheet("\n  ".join(project.absent.values())))
    require_packages(project)
    return project


def without_sheet(text: str) -> str:
    """Return an error message that names the option `--metadata` instead of a sample sheet."""
    return _COLUMN.sub("after --metadata", _LINE.sub("", text))


def predict_scan(
    project: Project, scan: str, *, keep: bool = False, observer: Observer | None = None
) -> ScanResult:
    """Run all stages of a scan; its detections state the time and duration of the run.

    Parameters
    ----------
    project : Project
        Project from `project_of`.
    scan : str
        Name of the scan.
    keep : bool
        Keep intermediate results.
    observer : callable, optional
        Callback for progress.

    Returns
    -------
    ScanResult
        With the reason if it failed. An error that is none of Parafovea's own also stands in the
        log with its traceback: it ends this scan and no other.
    """
    start, clock = time.perf_counter(), Clock.started()
    folder = Path(project.folder(scan))
    unfit = project.output_failure(scan)
    if unfit is not None:
        return ScanResult(scan, time.perf_counter() - start, None, without_sheet(unfit))
    try:
        steps = Steps(_expected(project, scan), observer)
        with observed(steps.within):
            run_sample(project, scan, announce=steps.begin, clock=clock)
        found = found_in(project, scan)
    except ParafoveaError as error:
        reason = without_sheet(describe(error))
        return ScanResult(scan, time.perf_counter() - start, None, reason)
    except Exception as error:
        LOGGER.exception("%s failed with an error that was not foreseen", scan)
        reason = f"{type(error).__name__}: {describe(error)}"
        return ScanResult(scan, time.perf_counter() - start, None, reason, foreseen=False)
    finally:
        if not keep:
            forget_intermediate(folder)
    return ScanResult(scan, time.perf_counter() - start, found)


def predict_scans(project: Project, *, workers: int, keep: bool = False) -> Iterator[ScanResult]:
    """Yield the outcome of each scan of a project as it finishes.

    Parameters
    ----------
    project : Project
        Project from `project_of`.
    workers : int
        Number of scans to process in parallel, each in its own process.
    keep : bool
        As for `predict_scan`.
    """
    predict = functools.partial(predict_scan, project, keep=keep)
    for scan, result in in_processes(predict, project.samples, workers=workers):
        yield result or ScanResult(scan, 0.0, None, f"{project.source(scan)}: {ENDED}")


def _expected(project: Project, scan: str) -> dict[str, float]:
    """Return the expected seconds of each stage of a scan."""
    work = work_of(project, scan)
    return {stage.name: cost(stage, work).seconds for stage in project.stages(scan)}


def found_in(project: Project, scan: str) -> int:
    """Return the number of detections or objects of a scan."""
    count = project.kind(scan).count
    return 0 if count is None else int(resolve(count)(Path(project.folder(scan))))


def count_detections(folder: Path) -> int:
    """Return the number of detections in the results folder of a scan."""
    document = json.loads((folder / DETECTIONS).read_text(encoding="utf-8"))
    return len(document["detections"])


def count_objects(folder: Path) -> int:
    """Return the number of objects in the results folder of a segmented volume."""
    return len((folder / OBJECT_TABLE).read_text(encoding="utf-8").splitlines()) - 1


def forget_intermediate(folder: Path) -> None:
    """Remove the intermediate results of a scan, and folders that are empty then."""
    if not folder.is_dir():
        return
    for removal in remove(matching(folder, INTERMEDIATE)):
        LOGGER.debug("%s removed", removal.path)
    for name in (SHARDS, VIEWS):
        place = folder / name
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
