"""Prediction of scans, or of a folder of tiles, on a Ray cluster without a sample sheet."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path

from parafovea.chain.tile_stages import predict_tiles
from parafovea.config import Project
from parafovea.drivers.one_process import remove_parts
from parafovea.drivers.open_jobs import OpenJobs, open_jobs
from parafovea.drivers.predict_scans import (
    INTERMEDIATE,
    ScanResult,
    forget_intermediate,
    found_in,
    without_sheet,
)
from parafovea.drivers.predict_tile_folder import TileSummary
from parafovea.drivers.ray.cluster import Cluster
from parafovea.drivers.ray.schedule import ignored
from parafovea.drivers.ray.stage_jobs import run_jobs
from parafovea.drivers.ray.work import Finished, ProgressCallback
from parafovea.errors import ParafoveaError
from parafovea.planning.staleness import Staleness
from parafovea.storage.layout import PAGE, is_within

#: Tiles of a share: few enough to occupy several GPUs, and enough to be worth the start of a job.
SHARE = 64


def predict_scans(
    cluster: Cluster,
    project: Project,
    *,
    num_gpus: int | None = None,
    keep: bool = False,
    progress: ProgressCallback = ignored,
) -> list[ScanResult]:
    """Run all stages of scans on a cluster.

    A scan whose results are current is not predicted again. Results are those of the workflow, so
    that detections state no time.

    Parameters
    ----------
    cluster : Cluster
        Where the stages run.
    project : Project
        Project from `predict_scans.project_of`, with `divided`.
    num_gpus, progress
        As for `run_jobs`.
    keep : bool
        Keep intermediate results; otherwise they go as soon as a scan is finished.

    Returns
    -------
    list of ScanResult
        In the order of the scans; of one that failed with the reason.

    Raises
    ------
    ClusterError
        As `run_jobs`. What is finished is kept, and the next call continues.
    """
    results = {
        name: ScanResult(name, 0.0, None, without_sheet(reason))
        for name, reason in project.failed.items()
    }
    good = [name for name in project.samples if name not in results]
    staleness = Staleness(project)
    jobs = OpenJobs((), {})
    if good:
        jobs = _open(project, staleness, *good, keep=keep)

    def finish(done: Finished) -> None:
        results[done.owner] = _concluded(project, jobs, done, keep=keep)

    run_jobs(
        cluster, project, staleness, jobs, num_gpus=num_gpus, finished=finish, progress=progress
    )
    for name in good:
        if name not in results:
            results[name] = ScanResult(name, 0.0, found_in(project, name))
    return [results[name] for name in project.samples]


def predict_folder(
    cluster: Cluster,
    project: Project,
    sample: str,
    *,
    num_gpus: int | None = None,
    progress: ProgressCallback = ignored,
) -> tuple[Path, TileSummary]:
    """Run all stages of a folder of tiles on a cluster.

    The tiles are divided into shares of at most `SHARE`, unless the task says otherwise. The lists
    of the shares stay beside the results, by which the next call knows what is finished.

    Parameters
    ----------
    cluster, num_gpus, progress
        As for `predict_scans`.
    project : Project
        Project from `predict_scans.project_of`, with `divided`.
    sample : str
        Name of the folder's sample.

    Returns
    -------
    Path
        The report; all results are beside it.
    TileSummary
        Summary of its tiles.

    Raises
    ------
    ParafoveaError
        If the folder cannot be read, or a stage fails.
    ClusterError
        As `run_jobs`.
    """
    start = time.perf_counter()
    if sample in project.failed:
        raise ParafoveaError(without_sheet(project.failed[sample]))
    project = with_shares(project, sample)
    staleness = Staleness(project)
    ends: list[Finished] = []
    run_jobs(
        cluster,
        project,
        staleness,
        open_jobs(staleness, sample),
        num_gpus=num_gpus,
        finished=ends.append,
        progress=progress,
    )
    for done in ends:
        if done.error is not None:
            raise ParafoveaError(without_sheet(done.error))
    folder = Path(project.folder(sample))
    counts = [each for done in ends for each in done.values.get(predict_tiles.name, ())]
    return folder / PAGE, TileSummary.of(folder, counts, time.perf_counter() - start)


def with_shares(project: Project, sample: str) -> Project:
    """Return a project in which a folder of tiles is divided, unless its task states how.

    The number follows from the tiles alone, so that the next call finds the same shares.
    """
    if project.task(sample).inference.shards != "auto":
        return project
    shares = max(1, math.ceil(sum(project.tile_sizes(sample).values()) / SHARE))
    divided = dataclasses.replace(project.samples[sample], shards=shares)
    return dataclasses.replace(project, samples={**project.samples, sample: divided})


def _open(project: Project, staleness: Staleness, *names: str, keep: bool) -> OpenJobs:
    """Return the open jobs of scans; intermediate results that are gone are not asked for."""
    if keep:
        return open_jobs(staleness, *names)
    results = f"{project.settings.results}/"

    def passing(path: str) -> bool:
        _, _, inside = path.removeprefix(results).partition("/")
        return is_within(inside, INTERMEDIATE)

    return open_jobs(staleness, *names, passing=passing)


def _concluded(project: Project, jobs: OpenJobs, done: Finished, *, keep: bool) -> ScanResult:
    """Return the result of a scan, and remove what it needed only while it was made."""
    name, error = done.owner, done.error
    try:
        if error is None:
            own = (job for job in jobs.all if dict(job.wildcards).get("sample") == name)
            remove_parts(project, own)
            return ScanResult(name, done.seconds, found_in(project, name))
    except (ParafoveaError, OSError) as problem:
        error = str(problem)
    finally:
        if not keep:
            forget_intermediate(Path(project.folder(name)))
    return ScanResult(name, done.seconds, None, without_sheet(error))
