"""Samples of the sheet on a Ray cluster, with the report of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parafovea.chain.cohort_stages import summarize_cohort
from parafovea.config import Project
from parafovea.drivers.failed_run import report_of_others
from parafovea.drivers.one_process import remove_parts
from parafovea.drivers.open_jobs import OpenJobs, open_jobs
from parafovea.drivers.ray.cluster import Cluster
from parafovea.drivers.ray.schedule import ignored
from parafovea.drivers.ray.stage_jobs import run_jobs
from parafovea.drivers.ray.work import Finished, ProgressCallback
from parafovea.planning.staleness import Staleness
from parafovea.storage.layout import PAGE


@dataclass(frozen=True, slots=True)
class SamplesRun:
    """What became of samples.

    Parameters
    ----------
    pages : tuple of Path
        Reports of the samples that are finished, and that of all samples if it was asked for.
    failed : dict of str to str
        Reason by sample, in the order of the sheet.
    outcome : str
        What was said of the report of all samples; "" without one.
    """

    pages: tuple[Path, ...]
    failed: dict[str, str]
    outcome: str = ""


def run_samples(
    cluster: Cluster,
    project: Project,
    staleness: Staleness,
    names: Sequence[str] = (),
    *,
    num_gpus: int | None = None,
    progress: ProgressCallback = ignored,
) -> SamplesRun:
    """Run what is not current of samples, and of those whose results they need, on a cluster.

    Parameters
    ----------
    cluster, num_gpus, progress
        As for `run_jobs`.
    project : Project
        The checked config and sheet.
    staleness : Staleness
        Comparison of the project's results with their records.
    names : sequence of str
        Samples of the sheet; without any, all of them, the models that they need to be trained, and
        the report of all.

    Returns
    -------
    SamplesRun
        A sample that failed stops no other one that does not need its result.

    Raises
    ------
    ConfigError
        If the sheet has no such sample.
    ClusterError
        As `run_jobs`.
    """
    for name in names:
        project.require(name)
    wanted = [name for name in names or project.predicted if name not in project.failed]
    ends: dict[str, Finished] = {}

    def finish(done: Finished) -> None:
        ends[done.owner] = done
        if done.error is None and done.owner in project.samples:
            own = (job for job in jobs.all if dict(job.wildcards).get("sample") == done.owner)
            remove_parts(project, own)

    jobs = OpenJobs((), {})
    if wanted or not names:
        # without names, also models and the report of all samples
        jobs = open_jobs(staleness, *(wanted if names else ()))
    run_jobs(
        cluster, project, staleness, jobs, num_gpus=num_gpus, finished=finish, progress=progress
    )
    reasons = dict(project.failed)
    for owner, done in ends.items():
        if done.error is not None and owner in project.samples:
            reasons.setdefault(owner, done.error)
    others = {o: d.error for o, d in ends.items() if d.error and o not in project.samples}
    asked = names or project.samples
    failed = {name: reasons[name] for name in project.samples if name in asked and name in reasons}
    pages = [Path(project.folder(name)) / PAGE for name in wanted if name not in reasons]
    if names:
        return SamplesRun(tuple(pages), failed)
    summary = others.pop(summarize_cohort.name, None)
    if failed and project.predicted:
        outcome = report_of_others(project, failed, written=summary is None)
        return SamplesRun(tuple(pages), failed | others, outcome)
    if summary is not None:
        others[summarize_cohort.name] = summary
    return SamplesRun(tuple(pages), others, project.outcome)
