"""Prefetching of small inputs, batching by shape, and writing in a background thread."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
U = TypeVar("U")


def prefetched(
    items: Iterable[T], read: Callable[[T], U], *, ahead: int, threads: int = 2
) -> Iterator[U]:
    """Yield the content of each item in order, while the next ones are being read.

    Parameters
    ----------
    items : iterable
        Items to read.
    read : callable
        Reads one item, in a thread.
    ahead : int
        Maximum number of items that are read but not yet consumed.
    threads : int
        Number of reading threads.
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


class LruCache(Generic[T]):
    """A thread-safe cache of the most recently used items, limited by bytes.

    Parameters
    ----------
    size : int
        Maximum number of bytes, except for a single larger item.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._items: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> T | None:
        """Return an item by name, or None if it is not cached."""
        with self._lock:
            if name not in self._items:
                return None
            self._items.move_to_end(name)
            return self._items[name][0]

    def put(self, name: str, item: T, nbytes: int) -> None:
        """Store an item of a number of bytes, and evict the least recently used ones."""
        with self._lock:
            _, before = self._items.pop(name, (None, 0))
            self._held += nbytes - before
            self._items[name] = item, nbytes
            while self._held > self._size and len(self._items) > 1:
                self._held -= self._items.popitem(last=False)[1][1]


class Batcher(Generic[T]):
    """Collects items into batches of one kind.

    Parameters
    ----------
    size : int
        Items per batch.
    most : int
        Maximum number of waiting items; beyond it, the largest incomplete batch is returned.
    """

    def __init__(self, size: int, *, most: int) -> None:
        self._size = size
        self._most = most
        self._waiting: dict[Hashable, list[T]] = {}

    def add(self, kind: Hashable, item: T, *, size: int | None = None) -> list[T]:
        """Add an item; return a batch if one is complete, otherwise an empty list.

        Parameters
        ----------
        kind : hashable
            Items of one kind share batches.
        item
            Item to add.
        size : int, optional
            Items per batch of this kind, if different.
        """
        bucket = self._waiting.setdefault(kind, [])
        bucket.append(item)
        if len(bucket) >= (size or self._size):
            return self._waiting.pop(kind)
        if sum(map(len, self._waiting.values())) >= self._most:
            return self._waiting.pop(max(self._waiting, key=lambda k: len(self._waiting[k])))
        return []

    def rest(self) -> Iterator[list[T]]:
        """Yield the incomplete batches."""
        while self._waiting:
            yield self._waiting.pop(next(iter(self._waiting)))


class BackgroundThread:
    """Runs tasks one after the other in a thread.

    `submit` waits for the previous task, so that at most two are held. An error in a task is raised
    by the next `submit`, or at the end of the block.

    Parameters
    ----------
    name : str
        Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._pool:
            if error is None:
                self._wait()

    def submit(self, work: Callable[[], None]) -> None:
        """Start a task after the previous one, and raise the error of that one if it failed."""
        self._wait()
        self._pending = self._pool.submit(work)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
