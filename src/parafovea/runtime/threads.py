"""Threads for small pieces of work: no more than they are worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads_for(share: float) -> Iterator[None]:
    """Let torch use as many threads as a piece of work is worth, of those that it has.

    Parameters
    ----------
    share : float
        Threads that are worth it; at least one is used.
    """
    given = torch.get_num_threads()
    torch.set_num_threads(min(given, max(1, int(share))))
    try:
        yield
    finally:
        torch.set_num_threads(given)
