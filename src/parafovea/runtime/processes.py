"""Work in processes of its own, of which one may end without a word and take nothing else along."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")


def in_processes(
    function: Callable[[str], T], items: Iterable[str], *, workers: int
) -> Iterator[tuple[str, T | None]]:
    """Yield each item with what a function returns for it in a process of its own.

    A process that is killed, or that crashes in a library, ends the processes beside it. What they
    had not finished is done again, each in a process that no other shares.

    Parameters
    ----------
    function : callable
        Takes an item; has to be importable.
    items : iterable of str
        Items of work.
    workers : int
        Number of items to process at once.

    Yields
    ------
    tuple of str and object or None
        None for an item at which a process ended without a word.
    """
    lost = []
    for item, future in _done(function, items, workers):
        try:
            result = future.result()
        except BrokenProcessPool:
            lost.append(item)
        else:
            yield item, result
    for item in lost:
        for _, future in _done(function, [item], 1):
            try:
                yield item, future.result()
            except BrokenProcessPool:
                yield item, None


def _done(
    function: Callable[[str], T], items: Iterable[str], workers: int
) -> Iterator[tuple[str, Future[T]]]:
    # a forked process would inherit the threads of torch
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        waiting = {}
        for item in items:
            try:
                waiting[pool.submit(function, item)] = item
            except BrokenProcessPool as error:
                # of a pool that broke while items were added
                future: Future[T] = Future()
                future.set_exception(error)
                waiting[future] = item
        for future in as_completed(waiting):
            yield waiting[future], future
