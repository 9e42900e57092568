"""Status of each sample: which of its results are current, stale or missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parafovea.config import Project
from parafovea.kinds.stages import steps
from parafovea.planning.staleness import Job, Staleness, Status
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
    """Return the status of each sample, in the order of the sheet."""
    statuses: dict[str, dict[str, list[Status]]] = {name: {} for name in project.samples}
    for job, status in found.items():
        sample = dict(job.wildcards).get("sample")
        if sample is not None and job.stage.step:
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
