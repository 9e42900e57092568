"""What a service says of a job: its state as JSON, and the stream of its progress."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from parafovea.service.job_queue import Job, JobQueue
from parafovea.service.job_results import JobResults
from parafovea.service.spool import Spool

#: Seconds between two looks at a job, and after which a watcher hears of it without a change.
LOOK, SILENCE = 0.25, 10.0


def status(queue: JobQueue, job: Job) -> dict[str, Any]:
    """Return what a client gets to know of a job.

    Parameters
    ----------
    queue : JobQueue
        The queue, for the position in it.
    job : Job
        A job of the client.
    """
    left = job.seconds_left(time.time())
    return {
        "job_id": job.id,
        "status": job.state,
        "task": job.task,
        "stage": job.stage if job.state == "running" else None,
        "progress": round(100 * job.share, 1),
        "remaining_seconds": None if left is None else round(left, 1),
        "position": queue.position(job.id) if job.state == "queued" else None,
        "created": _moment(job.created),
        "started": _moment(job.started),
        "finished": _moment(job.finished),
        "found": job.found,
        "error": job.error,
        "notes": list(job.notes),
    }


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def final(queue: JobQueue, spool: Spool, job: Job) -> dict[str, Any]:
    """Return the last message of a stream: the state, and the results of a completed job."""
    said = status(queue, job)
    if job.state == "completed":
        document = JobResults(spool, job).document()
        said["detections"] = document.get("detections", [])
        said["summary"] = document.get("summary")
        said["files"] = document["files"]
    return said


async def followed(queue: JobQueue, spool: Spool, job: Job) -> AsyncIterator[dict[str, Any]]:
    """Yield what is said of a job: now, at each change, and at the end, which is the last.

    Parameters
    ----------
    queue : JobQueue
        The queue.
    spool : Spool
        Where the results are.
    job : Job
        Job of the client.
    """
    last, said = None, 0.0
    while True:
        found = await asyncio.to_thread(queue.get, job.id)
        if found is None or found.state == "cancelled":
            yield {"job_id": job.id, "status": "cancelled", "progress": round(100 * job.share, 1)}
            return
        job = found
        if job.over:
            yield await asyncio.to_thread(final, queue, spool, job)
            return
        message = await asyncio.to_thread(status, queue, job)
        shown = {key: value for key, value in message.items() if key != "remaining_seconds"}
        if shown != last or time.monotonic() - said >= SILENCE:
            last, said = shown, time.monotonic()
            yield message
        await asyncio.sleep(LOOK)


async def events(messages: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """Yield messages as server-sent events, named `progress`, or by the state at the end."""
    async for message in messages:
        state = message["status"]
        name = "progress" if state in ("queued", "running") else state
        yield f"event: {name}\ndata: {json.dumps(message)}\n\n"
