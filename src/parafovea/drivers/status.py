"""Status of each sample: which of its results are current, stale or missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parafovea.config import Project
from parafovea.kinds.stages import steps
from parafovea.planning.staleness import Job, Staleness, State, Status
from parafovea.storage.layout import disk_use

#: Statuses of a job, the worst first.
STATUSES: tuple[Status, ...] = ("missing", "stale", "removed", "done")


@dataclass(frozen=True, slots=True)
class SampleStatus:
    """Status of one sample.

    Parameters
    ----------
    name : str
        Name of the sample.
    steps : mapping of str to str
        Status text for each step; empty if the sample has no such step.
    bytes_used : int
        Disk usage of its folder; links are not followed.
    """

    name: str
    steps: Mapping[str, str]
    bytes_used: int


def sample_status(project: Project, found: Mapping[Job, Status]) -> tuple[SampleStatus, ...]:
    """Return the status of each sample, in the order of the sheet.

    Parts that were removed after they were joined are not counted.
    """
    statuses: dict[str, dict[str, list[Status]]] = {name: {} for name in project.samples}
    for job, status in found.items():
        sample = dict(job.wildcards).get("sample")
        joined = status == "removed" and all(each.part for each in job.stage.outputs.values())
        if sample is not None and job.stage.step and not joined:
            statuses[sample].setdefault(job.stage.step, []).append(status)
    return tuple(
        SampleStatus(
            name,
            {step: _words(of_step.get(step, [])) for step in steps()},
            disk_use(Path(project.folder(name))),
        )
        for name, of_step in statuses.items()
    )


def other_status(found: Mapping[Job, Status]) -> dict[str, str]:
    """Return the status of the stages without a sample, by name."""
    statuses: dict[str, list[Status]] = {}
    for job, status in found.items():
        if "sample" not in dict(job.wildcards):
            statuses.setdefault(job.stage.name, []).append(status)
    return {stage: _words(each) for stage, each in statuses.items()}


#: What a state of a job means for its result, for those that are the first in a chain.
REASONS: Mapping[State, str] = {
    "settings": "its settings have changed",
    "code": "its code has changed",
    "files": "a file that it reads has changed",
    "incomplete": "files that it lists are missing",
    "unrecorded": "it is not known what made it",
}


def reasons(staleness: Staleness, found: Mapping[Job, Status]) -> list[str]:
    """Return a sentence for each stage of which results are stale by themselves, with the count."""
    counts: dict[tuple[str, str], list[str]] = {}
    for job, status in found.items():
        state = staleness.state(job.stage, dict(job.wildcards)) if status == "stale" else "current"
        if state in REASONS:
            owner = " ".join(value for _, value in job.wildcards)
            counts.setdefault((job.stage.name, REASONS[state]), []).append(owner)
    return [
        f"{stage} is stale: {reason}" + (f" ({_listed(owners)})" if any(owners) else "")
        for (stage, reason), owners in counts.items()
    ]


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join((*names[:most], *more))


def job_status(staleness: Staleness) -> dict[Job, Status]:
    """Return the status of every job of a project."""
    return staleness.statuses(staleness.jobs())


def _words(statuses: Sequence[Status]) -> str:
    """Return the status of several jobs as text, with the count if they differ."""
    if not statuses:
        return ""
    worst = min(statuses, key=STATUSES.index)
    count = statuses.count(worst)
    return worst if count == len(statuses) else f"{count}/{len(statuses)} {worst}"
