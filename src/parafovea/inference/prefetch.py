"""Small files to batches: read ahead in threads, gathered by size, written behind in a thread."""

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


class LruCache(Generic[T]):
    """Keeps the items that were used last, as many as fit a number of bytes; for any thread.

    Parameters
    ----------
    size : int
        Bytes at most, but for one item that is larger by itself.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._items: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> T | None:
        """Return an item by its name, if it is still there."""
        with self._lock:
            if name not in self._items:
                return None
            self._items.move_to_end(name)
            return self._items[name][0]

    def put(self, name: str, item: T, nbytes: int) -> None:
        """Keep an item of so many bytes, and let go of those that were used longest ago."""
        with self._lock:
            _, before = self._items.pop(name, (None, 0))
            self._held += nbytes - before
            self._items[name] = item, nbytes
            while self._held > self._size and len(self._items) > 1:
                self._held -= self._items.popitem(last=False)[1][1]


class Batcher(Generic[T]):
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

    def add(self, kind: Hashable, item: T, *, size: int | None = None) -> list[T]:
        """Take an item in; return a batch where one is due, else nothing.

        Parameters
        ----------
        kind : hashable
            Items of one kind share batches.
        item
            What to gather.
        size : int, optional
            Items of a batch of this kind, where it differs.
        """
        bucket = self._waiting.setdefault(kind, [])
        bucket.append(item)
        if len(bucket) >= (size or self._size):
            return self._waiting.pop(kind)
        if sum(map(len, self._waiting.values())) >= self._most:
            return self._waiting.pop(max(self._waiting, key=lambda k: len(self._waiting[k])))
        return []

    def rest(self) -> Iterator[list[T]]:
        """Yield the batches that never became full."""
        while self._waiting:
            yield self._waiting.pop(next(iter(self._waiting)))


class BackgroundThread:
    """Does one thing after the other in a thread, while its caller goes on.

    A caller that is quicker waits, so that no more than two things are held. What is raised in the
    thread reaches the caller with the next thing, or at the end of the block.

    Parameters
    ----------
    name : str
        Of the thread.
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
        """Do the work once all before is done, or raise what that met."""
        self._wait()
        self._pending = self._pool.submit(work)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
