"""The jobs that a run still has to do, each with those that it waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parafovea.planning.staleness import Job, Staleness, none_passes


@dataclass(frozen=True)
class OpenJobs:
    """Jobs of samples, as they stand before a run.

    Parameters
    ----------
    all : tuple of Job
        In execution order, finished ones included.
    needs : mapping of Job to frozenset of Job
        The open ones, in execution order, with the open ones whose results each reads.
    """

    all: tuple[Job, ...]
    needs: Mapping[Job, frozenset[Job]]


def open_jobs(
    staleness: Staleness, *samples: str, passing: Callable[[str], bool] = none_passes
) -> OpenJobs:
    """Return the jobs of samples and of all that they depend on, of which current ones are done.

    Parameters
    ----------
    staleness : Staleness
        Comparison of the project's results with their records.
    *samples : str
        Names in the sheet; without any, all jobs of the project but those of its study.
    passing : callable
        As for `Staleness.statuses`.
    """
    jobs = staleness.jobs(*samples)
    found = staleness.statuses(jobs, passing=passing)
    waiting = [job for job in jobs if found[job] in ("stale", "missing")]
    left = frozenset(waiting)
    needs = {}
    for job in waiting:
        inputs = staleness.order(job.stage, dict(job.wildcards)).inputs
        makers = (staleness.maker(path) for path in inputs)
        needs[job] = frozenset(maker for maker in makers if maker in left)
    return OpenJobs(jobs, needs)


def job_text(job: Job) -> str:
    """Return a job in words, such as "infer_shard of patient_001, shard 2"."""
    wildcards = dict(job.wildcards)
    owner = wildcards.pop("sample", "")
    rest = ", ".join(f"{name} {value}" for name, value in wildcards.items())
    return (
        f"{job.stage.name} of {owner}, {rest}".removesuffix(", ")
        if owner
        else (f"{job.stage.name} of {rest}" if rest else job.stage.name)
    )
