"""Runs all stages of a sample in one process, from the declarations that the workflow uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from parafovea.chain.stage import Stage, Wildcards
from parafovea.config import Project
from parafovea.config.stage_code import code_of
from parafovea.errors import ParafoveaError
from parafovea.planning.staleness import Job, Staleness
from parafovea.runtime.runs import readable_storage
from parafovea.storage.layout import PAGE
from parafovea.storage.provenance import Clock
from parafovea.storage.records import forget_record, recorded
from parafovea.storage.store import discard

#: Called with the name of each stage at its start.
Announce = Callable[[str], None]


def silent(stage: str) -> None:
    """Ignore the start of a stage."""


def run_stage(
    project: Project, stage: Stage, wildcards: Wildcards, *, clock: Clock | None = None
) -> Any:
    """Run one job of a stage.

    What its results were made from before is forgotten, and what they are made from now is for
    the caller to record.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    stage : Stage
        Declaration of the stage.
    wildcards : mapping of str to str
        Wildcards of the job.
    clock : Clock, optional
        Time to state, for a stage whose result can state one.

    Returns
    -------
    object
        Return value of the stage's function.

    Raises
    ------
    StoreError
        If the disk is full or refuses an output.
    """
    call: dict[str, Any] = {
        name: Path(paths) if isinstance(paths, str) else [Path(path) for path in paths or ()]
        for name, paths in stage.input_paths(project, wildcards).items()
    }
    outputs = {n: Path(path) for n, path in stage.output_paths(project, wildcards).items()}
    call |= outputs
    call |= stage.arguments(project, wildcards)
    if stage.clock:
        call["clock"] = clock
    if stage.states_code:
        call["code"] = code_of(stage, project, wildcards)
    with readable_storage(*outputs.values()):
        forget_record(stage.record(project, wildcards))
        return stage.load()(**call)


def run_stages(
    project: Project, sample: str, *, announce: Announce = silent, clock: Clock | None = None
) -> Mapping[str, Any]:
    """Run every stage of a sample, from its source to its report.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    sample : str
        Name in the sheet; its source, truth and model must exist.
    announce : callable
        Called with the name of each stage at its start.
    clock : Clock, optional
        Time for detections to state. Without it they state none, as in the workflow, so that a
        rerun gives the same bytes.

    Returns
    -------
    mapping of str to object
        Return value of each stage by name, for several jobs that of the last. All results are in
        the sample's folder.

    Raises
    ------
    ConfigError
        If the sheet has no such sample.
    ParafoveaError
        As raised by the stages, with the sample's name in a note.
    """
    project.require(sample)
    returned: dict[str, Any] = {}
    stages = [(stage, project.jobs(stage, sample)) for stage in project.stages(sample)]
    makers = {
        path: (stage, job)
        for stage, jobs in stages
        for job in jobs
        for path in stage.output_paths(project, job).values()
    }
    done: dict[Job, None] = {}

    def run(stage: Stage, wildcards: dict[str, str]) -> None:
        """Run a job, before it those of later stages that it needs: a pass needs the one before."""
        job = Job.of(stage, wildcards)
        if job in done:
            return
        done[job] = None
        for paths in stage.input_paths(project, wildcards).values():
            for path in (paths,) if isinstance(paths, str) else paths or ():
                if path in makers:
                    run(*makers[path])
        returned[stage.name] = run_stage(project, stage, wildcards, clock=clock)

    for stage, jobs in stages:
        if jobs:
            announce(stage.name)
        for wildcards in jobs:
            run(stage, wildcards)
    _remove_parts(project, done)
    return returned


def _remove_parts(project: Project, jobs: Iterable[Job]) -> None:
    """Remove parts of results, which have been joined, as the workflow does."""
    for job in jobs:
        outputs = job.stage.outputs_of(project)
        for name, path in job.stage.output_paths(project, dict(job.wildcards)).items():
            if outputs[name].part:
                discard(Path(path))


def run_sample(
    project: Project, sample: str, *, announce: Announce = silent, clock: Clock | None = None
) -> Path:
    """Run every stage of a sample, as `run_stages`, and return the path of its report."""
    run_stages(project, sample, announce=announce, clock=clock)
    return Path(project.folder(sample)) / PAGE


def run_chain(
    project: Project, sample: str, staleness: Staleness, *, announce: Announce = silent
) -> Path:
    """Run what is not current of a sample and of the samples whose results it needs.

    What made each result is recorded, as in the workflow, which takes it for its own.

    Parameters
    ----------
    project, sample, announce
        As for `run_stages`.
    staleness : Staleness
        Comparison of the project's results with their records.

    Returns
    -------
    Path
        The report of the sample.

    Raises
    ------
    ConfigError, ParafoveaError
        As `run_stages`; a note names the sample if it is another one.
    """
    project.require(sample)
    jobs = staleness.jobs(sample)
    announced: tuple[str, str] | None = None
    for job, status in staleness.statuses(jobs).items():
        if status in ("done", "removed"):
            continue
        wildcards = dict(job.wildcards)
        owner = wildcards.get("sample", "")
        if announced != (owner, job.stage.name):
            announced = (owner, job.stage.name)
            announce(job.stage.name)
        try:
            with recorded(staleness.order(job.stage, wildcards), staleness.contents):
                run_stage(project, job.stage, wildcards)
        except ParafoveaError as error:
            if owner != sample:
                error.add_note(f"in sample {owner!r}, whose result {sample!r} needs")
            raise
    _remove_parts(project, jobs)
    return Path(project.folder(sample)) / PAGE
