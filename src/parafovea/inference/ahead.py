"""Small files to batches: read ahead in threads, gathered by size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


def read_ahead(
    items: Iterable[T], read: Callable[[T], U], *, ahead: int, threads: int = 2
) -> Iterator[U]:
    """Yield what is read of each item, in their order, while the next ones are being read.

    Parameters
    ----------
    items : iterable
        What to read.
    read : callable
        Reads one item, in a thread.
    ahead : int
        Items at most that are read and not taken yet.
    threads : int
        That read.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        pending: deque[Future[U]] = deque(pool.submit(read, i) for i in islice(waiting, ahead))
        try:
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(read, item) for item in islice(waiting, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()


class Buckets(Generic[T]):
    """Gathers items of one kind until there are enough for a batch.

    Parameters
    ----------
    size : int
        Items of a batch.
    most : int
        Items at most that wait; beyond, the fullest bucket becomes a batch before it is full.
    """

    def __init__(self, size: int, *, most: int) -> None:
        self._size = size
        self._most = most
        self._waiting: dict[Hashable, list[T]] = {}

    def add(self, kind: Hashable, item: T) -> list[T]:
        """Take an item in; return a batch where one is due, else nothing."""
        bucket = self._waiting.setdefault(kind, [])
        bucket.append(item)
        if len(bucket) == self._size:
            return self._waiting.pop(kind)
        if sum(map(len, self._waiting.values())) >= self._most:
            return self._waiting.pop(max(self._waiting, key=lambda k: len(self._waiting[k])))
        return []

    def rest(self) -> Iterator[list[T]]:
        """Yield the batches that never became full."""
        while self._waiting:
            yield self._waiting.pop(next(iter(self._waiting)))
