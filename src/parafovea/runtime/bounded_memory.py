"""A bound on the memory of this process, for work whose needs nobody knows."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """Let allocations of more memory than this machine has free fail, instead of the machine.

    Linux grants memory that is not there, and ends a process, or another one, when it is used.
    Elsewhere this does nothing.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    before, most = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    wanted = pages * resource.getpagesize() + psutil.virtual_memory().available
    known = [limit for limit in (before, most) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *known]), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))
