"""Jobs for tests of the cluster, which run on its nodes: they write, wait, die or take memory."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from parafovea.runtime.devices import DEVICE_VARIABLE
from parafovea.runtime.progress import tracked
from parafovea.storage.store import replacing


def write(output: Path, *, seconds: float = 0.0, text: str = "done") -> None:
    """Write a text, step by step over some seconds, whole or not at all."""
    with replacing(output) as partial:
        partial.write_text(text[: len(text) // 2])
        for _ in tracked(range(max(1, round(seconds * 10))), round(seconds * 10), "steps"):
            time.sleep(0.1 if seconds else 0)
        partial.write_text(text)


def describe_process(output: Path, *, seconds: float = 0.0) -> None:
    """Write which devices this process sees, and which process it is."""
    time.sleep(seconds)
    import ray

    facts = {
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "device": os.environ.get(DEVICE_VARIABLE),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "process": os.getpid(),
        "node": ray.get_runtime_context().get_node_id(),
        "folder": str(Path.cwd()),
    }
    output.write_text(json.dumps(facts))


def die(output: Path, *, times: int) -> None:
    """End this process without a word the first times, as the system does; then write."""
    tried = _count(output)
    if tried <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    output.write_text(str(tried))


def take_memory(output: Path, *, megabytes: int, times: int) -> None:
    """Take memory the first times, and keep it; then write."""
    tried = _count(output)
    if tried <= times:
        taken = []
        for _ in range(megabytes // 50):
            taken.append(b"\1" * 50_000_000)
            time.sleep(0.02)
        time.sleep(30)
    output.write_text(str(tried))


def _count(output: Path) -> int:
    """Return how many times a job was tried, this one included."""
    tries = output.with_name(f"{output.name}.tries")
    with tries.open("a") as stream:
        stream.write(".")
    return len(tries.read_text())
