"""Numbers of a service for Prometheus, in its text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psutil

from parafovea.service.job_queue import JobQueue
from parafovea.service.spool import Spool

#: Media type of the format.
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: States of jobs that are always there, with 0 if there is none.
_STATES = ("queued", "running", "completed", "failed", "cancelled", "expired")


def metrics_text(
    queue: JobQueue, spool: Spool, *, workers: int | None, uploads: Mapping[str, int]
) -> str:
    """Return all numbers.

    Parameters
    ----------
    queue : JobQueue
        The queue.
    spool : Spool
        Where the jobs are.
    workers : int or None
        Workers that run; None if another server has them.
    uploads : mapping of str to int
        Counts of this process: "accepted", "refused" and "bytes".
    """
    return "\n".join(_lines(queue, spool, workers, uploads)) + "\n"


def _lines(
    queue: JobQueue, spool: Spool, workers: int | None, uploads: Mapping[str, int]
) -> Iterator[str]:
    states = queue.states()
    yield from _head("jobs", "gauge", "Jobs by state.")
    for state in _STATES:
        yield f'parafovea_jobs{{state="{state}"}} {states.get(state, 0)}'
    yield from _head("jobs_total", "counter", "What became of jobs since the queue was made.")
    for event, count in queue.counters().items():
        yield f'parafovea_jobs_total{{event="{event}"}} {count}'
    yield from _head("uploads_total", "counter", "Uploads since the server was started.")
    for outcome in ("accepted", "refused"):
        yield f'parafovea_uploads_total{{outcome="{outcome}"}} {uploads[outcome]}'
    single = {
        "upload_bytes_total": ("counter", "Bytes of accepted uploads.", uploads["bytes"]),
        "queue_oldest_seconds": ("gauge", "Wait of the first job.", queue.oldest_waiting()),
        "results_bytes": ("gauge", "Bytes of all finished jobs.", queue.stored()),
        "disk_free_bytes": ("gauge", "Bytes left on the disk of the jobs.", spool.free()),
        "server_memory_bytes": (
            "gauge",
            "Memory of the server.",
            psutil.Process().memory_info()[0],
        ),
    }
    if workers is not None:
        single["workers"] = ("gauge", "Worker processes that run.", workers)
    for name, (kind, meaning, value) in single.items():
        yield from _head(name, kind, meaning)
        yield f"parafovea_{name} {value}"


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP parafovea_{name} {meaning}"
    yield f"# TYPE parafovea_{name} {kind}"


def _memory() -> int:
    return int(psutil.Process().memory_info().rss)
