"""The open jobs of stages as work items, and their run on a cluster."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import torch

from parafovea.chain.stage import Wildcards
from parafovea.chain.tile_stages import predict_tiles
from parafovea.config import Project
from parafovea.drivers.open_jobs import OpenJobs, job_text
from parafovea.drivers.ray.cluster import Cluster
from parafovea.drivers.ray.schedule import Schedule, ignored
from parafovea.drivers.ray.staff import require_gpus, staff_of
from parafovea.drivers.ray.work import Finished, ProgressCallback, WorkItem
from parafovea.drivers.ray.worker import Workplace
from parafovea.drivers.stage_call import StageCall, stage_call
from parafovea.planning.reference_rates import cost
from parafovea.planning.requests import JobRequests
from parafovea.planning.staleness import Job, Staleness
from parafovea.runtime.devices import DEVICE_VARIABLE


def run_jobs(
    cluster: Cluster,
    project: Project,
    staleness: Staleness,
    jobs: OpenJobs,
    *,
    num_gpus: int | None = None,
    finished: Callable[[Finished], None],
    progress: ProgressCallback = ignored,
) -> None:
    """Run the open jobs of a project on a cluster, and record what made each result.

    Parameters
    ----------
    cluster : Cluster
        Where they run.
    project : Project
        The checked config and sheet.
    staleness : Staleness
        Comparison of the project's results with their records.
    jobs : OpenJobs
        What is to be done.
    num_gpus : int, optional
        GPUs to use; by default all of the cluster, or its CPUs where there is none. 0 for CPUs.
    finished, progress : callable
        As for `Schedule`.

    Raises
    ------
    ClusterError
        If the cluster has fewer GPUs, or goes away.
    """
    num_gpus = wanted_gpus(num_gpus)
    nodes = cluster.nodes()
    require_gpus(nodes, num_gpus)
    items = work_items(project, staleness, jobs)
    if not items:
        return
    on_gpu = [item.memory(1) for item in items if item.on_gpu]
    staff = staff_of(
        nodes, num_gpus=num_gpus, gpu_jobs=len(on_gpu), memory=max(on_gpu, default=0.0)
    )
    Schedule(
        cluster,
        staff,
        items,
        workplace=Workplace(folder=str(Path.cwd())),
        threads=torch.get_num_threads(),
        finished=finished,
        progress=progress,
    ).run()


def work_items(project: Project, staleness: Staleness, jobs: OpenJobs) -> list[WorkItem]:
    """Return the open jobs of a project as work items, in execution order."""
    requests = JobRequests(project, planning=False)
    positions = {job: number for number, job in enumerate(jobs.needs)}
    return [
        _item(project, staleness, requests, job, frozenset(positions[other] for other in needs))
        for job, needs in jobs.needs.items()
    ]


def wanted_gpus(num_gpus: int | None) -> int | None:
    """Return how many GPUs to use: none if the device of the run is the CPU."""
    if num_gpus is None and os.environ.get(DEVICE_VARIABLE) == "cpu":
        return 0
    return num_gpus


def _item(
    project: Project,
    staleness: Staleness,
    requests: JobRequests,
    job: Job,
    needs: frozenset[int],
) -> WorkItem:
    stage, wildcards = job.stage, dict(job.wildcards)
    name = job_text(job)
    sample = wildcards.get("sample")
    seconds = 1.0
    if stage.sized_by == "sample" and sample is not None:
        # one second for the start of each job
        seconds += cost(stage, requests.work(sample)).seconds
    return WorkItem(
        name=name,
        owner=name if sample is None else sample,
        stage=stage.name,
        needs=needs,
        on_gpu=stage.device == "gpu",
        of_scan=sample is not None,
        shard="shard" in wildcards,
        returns=stage.name == predict_tiles.name,
        memory=functools.partial(_memory, requests, stage.name, wildcards),
        seconds=seconds,
        call=functools.partial(_call, project, staleness, job),
    )


def _memory(requests: JobRequests, stage: str, wildcards: Wildcards, attempt: int) -> float:
    return 1e6 * requests.of(stage, wildcards, attempt).mem_mb


def _call(project: Project, staleness: Staleness, job: Job) -> StageCall:
    wildcards = dict(job.wildcards)
    order = staleness.order(job.stage, wildcards)
    return stage_call(project, job.stage, wildcards, order=order)
