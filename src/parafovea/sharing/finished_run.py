"""The jobs of a finished run with what their records state: what made which result, and when."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from parafovea.chain.stage import Output, filled
from parafovea.config import Project
from parafovea.drivers.status import reasons
from parafovea.errors import ConfigError, StoreError
from parafovea.planning.staleness import Job, Staleness, Status
from parafovea.settings.recipe import Recipe
from parafovea.storage.records import Order, Record, read_record

#: Most jobs that an error names.
MOST = 5

#: Most seconds between the end of a job and the file in which Snakemake notes how long it took.
NOTED = 300


def chosen_samples(
    project: Project, samples: Sequence[str], able: Callable[[Recipe], bool], *, what: str, why: str
) -> tuple[str, ...]:
    """Return the predicted samples of some kind, or those of them that are named.

    Parameters
    ----------
    project : Project
        The checked project.
    samples : sequence of str
        Names in the sheet; all of the kind if empty.
    able : callable
        Whether a sample is of the kind, by the recipe of its model.
    what, why : str
        The kind in words, such as "scan", and why another sample is none.

    Raises
    ------
    ConfigError
        If a named sample is not of the kind, or none is.
    """
    found = [name for name in project.predicted if able(project.recipe(name))]
    for name in samples:
        if project.require(name).name not in found:
            raise ConfigError(
                f"sample {name!r} is no predicted {what}, {why}: name some of "
                f"{', '.join(found) or 'none, since there are none'}"
            )
    if not found:
        raise ConfigError(f"no predicted sample of the sheet is of the kind {what}")
    return tuple(dict.fromkeys(samples)) or tuple(found)


@dataclass(frozen=True)
class FinishedJob:
    """A job whose results are current, or were removed after use.

    Parameters
    ----------
    job : Job
        Stage and wildcards.
    order : Order
        What it is made from.
    outputs : mapping of str to (str, Output)
        Path and declaration of each output that is there, by name, and of what is written beside.
    record : Record or None
        What it was made from; None if it went together with its result.
    ended : datetime or None
        When the record was written, right after the job; None without a record.
    began : datetime or None
        When it began; None if its run did not note how long it took.
    """

    job: Job
    order: Order
    outputs: Mapping[str, tuple[str, Output]]
    record: Record | None
    ended: datetime | None
    began: datetime | None

    @property
    def words(self) -> str:
        """The job in words, such as "infer_shard of cell_101, shard 1"."""
        return job_words(self.job)


def job_words(job: Job) -> str:
    """Return a job in words, such as "infer_shard of cell_101, shard 1"."""
    values = dict(job.wildcards)
    sample = values.pop("sample", None)
    words = [f"{job.stage.name} of {sample}" if sample else job.stage.name]
    return ", ".join([*words, *(f"{name} {value}" for name, value in values.items())])


def finished_jobs(
    project: Project, staleness: Staleness, samples: Sequence[str] = ()
) -> tuple[FinishedJob, ...]:
    """Return all jobs of a run, or those of some samples, in execution order.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    staleness : Staleness
        Comparison of its results with what a run would make.
    samples : sequence of str
        Names in the sheet; by default all, and the report of all.

    Raises
    ------
    StoreError
        If a result is missing or stale, or a sample cannot be run, with the command to type.
    """
    failed = {name: why for name, why in project.failed.items() if name in (samples or [name])}
    if failed:
        lines = "\n  ".join(project.failure_lines(failed))
        raise StoreError(
            "the run is not finished, since it cannot be for each sample: mend or remove these "
            f"lines of the sheet, and run `snakemake --cores 2`\n  {lines}"
        )
    found = staleness.statuses(staleness.jobs(*samples))
    if not found:
        raise StoreError("there is no sample that is predicted: add a line to the sheet")
    _require_finished(staleness, found)
    return tuple(_finished(project, staleness, job) for job in found)


def _require_finished(staleness: Staleness, found: Mapping[Job, Status]) -> None:
    open_jobs = {job: status for job, status in found.items() if status in ("missing", "stale")}
    if not open_jobs:
        return
    words = [f"{job_words(job)} is {status}" for job, status in open_jobs.items()]
    more = f" and {len(words) - MOST} more" if len(words) > MOST else ""
    listed = "; ".join(words[:MOST]) + more
    why = "".join(f"\n  {reason}" for reason in reasons(staleness, found))
    raise StoreError(
        f"the run is not finished: {listed}: run `snakemake --cores 2`, then this again{why}"
    )


def _finished(project: Project, staleness: Staleness, job: Job) -> FinishedJob:
    wildcards = dict(job.wildcards)
    declared = job.stage.outputs_of(project)
    outputs = {
        name: (path, declared[name])
        for name, path in job.stage.output_paths(project, wildcards).items()
        if Path(path).exists()
    }
    for pattern in job.stage.beside:
        path = filled(pattern, project, wildcards)
        if Path(path).exists():
            outputs[pattern] = (path, Output(pattern, folder=Path(path).is_dir()))
    order = staleness.order(job.stage, wildcards)
    record = read_record(order.place)
    ended = None
    if record is not None:
        ended = datetime.fromtimestamp(int(Path(order.place).stat().st_mtime), UTC)
    return FinishedJob(job, order, outputs, record, ended, _began(project, job, ended))


def _began(project: Project, job: Job, ended: datetime | None) -> datetime | None:
    """Return when a job began, by the seconds in its benchmark; None if those are of another."""
    values = dict(job.wildcards)
    folder = Path(project.settings.results, "benchmarks", values.pop("sample", ""))
    file = folder / f"{'_'.join([job.stage.name, *values.values()])}.tsv"
    if ended is None or not file.is_file():
        return None
    if not -1 <= file.stat().st_mtime - ended.timestamp() <= NOTED:
        return None
    with file.open(encoding="utf-8", newline="") as stream:
        row = next(csv.DictReader(stream, delimiter="\t"), {})
    try:
        return ended - timedelta(seconds=round(float(row["s"])))
    except (KeyError, ValueError):
        return None
