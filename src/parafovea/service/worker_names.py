"""Names of worker processes, by which another process of the machine sees whether they live."""

from __future__ import annotations

import os
import socket

import psutil


def own_name() -> str:
    """Return the name of this process: its machine, its number and when it started."""
    process = psutil.Process(os.getpid())
    return f"{socket.gethostname()}:{process.pid}:{process.create_time():.2f}"


def is_dead(name: str) -> bool:
    """Return whether a process is known to be dead: one of another machine never is.

    Parameters
    ----------
    name : str
        From `own_name`.
    """
    machine, _, rest = name.rpartition(":")[0].rpartition(":")
    if machine != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(rest))
        same = f"{process.create_time():.2f}" == name.rpartition(":")[2]
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
