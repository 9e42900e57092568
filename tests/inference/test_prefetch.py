"""Reading ahead, and batches by size."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parafovea.inference.prefetch import BackgroundThread, Batcher, LruCache, prefetched


def test_items_come_in_their_order_and_no_more_are_read_than_may_wait() -> None:
    lock, started, taken, most = threading.Lock(), [0], [0], [0]

    def read(item: int) -> int:
        with lock:
            started[0] += 1
            most[0] = max(most[0], started[0] - taken[0])
        return item * item

    found = []
    for value in prefetched(range(50), read, ahead=5, threads=3):
        found.append(value)
        with lock:
            taken[0] += 1
    assert found == [n * n for n in range(50)]
    assert most[0] <= 6


def test_what_reading_raises_reaches_the_caller() -> None:
    def read(item: int) -> int:
        if item == 3:
            raise OSError("gone")
        return item

    reads = prefetched(range(10), read, ahead=4)
    with pytest.raises(OSError, match="gone"):
        list(reads)


@given(st.lists(st.sampled_from("abcdef"), max_size=60), st.integers(1, 5), st.integers(5, 12))
def test_every_item_is_in_one_batch_of_its_kind(kinds: str, size: int, most: int) -> None:
    batcher: Batcher[tuple[int, str]] = Batcher(size, most=most)
    batches, waiting = [], 0
    for item in enumerate(kinds):
        batch = batcher.add(item[1], item)
        waiting += 1 - len(batch)
        assert waiting < most
        if batch:
            batches.append(batch)
    batches += batcher.rest()
    assert all(len({kind for _, kind in batch}) == 1 <= len(batch) <= size for batch in batches)
    assert Counter(item for batch in batches for item in batch) == Counter(enumerate(kinds))


def test_a_kind_of_its_own_size_becomes_batches_of_that_size() -> None:
    batcher: Batcher[int] = Batcher(4, most=100)
    found = [batcher.add(n % 2, n, size=2 if n % 2 else None) for n in range(8)]
    assert [batch for batch in found if batch] == [[1, 3], [0, 2, 4, 6], [5, 7]]


def test_arrays_are_kept_by_their_bytes_and_the_longest_unused_goes_first() -> None:
    kept: LruCache[str] = LruCache(100)
    for name in "abc":
        kept.put(name, "item", 30)
    assert kept.get("a") is not None
    kept.put("d", "item", 30)
    assert [name for name in "abcd" if kept.get(name) is not None] == ["a", "c", "d"]
    kept.put("d", "item", 10)  # in place of the one before
    kept.put("e", "item", 30)
    assert [name for name in "acde" if kept.get(name) is not None] == ["a", "c", "d", "e"]
    kept.put("large", "item", 500)
    assert kept.get("large") is not None
    assert kept.get("e") is None


def test_work_behind_is_done_in_order_while_the_caller_goes_on() -> None:
    done: list[int] = []
    gate = threading.Event()

    def work(number: int) -> None:
        gate.wait(10)
        done.append(number)

    with BackgroundThread("worker") as behind:
        behind.submit(lambda: work(0))
        assert done == []  # and yet it came back
        gate.set()
        for number in range(1, 5):
            behind.submit(lambda number=number: work(number))  # type: ignore[misc]
    assert done == [0, 1, 2, 3, 4]


def test_what_work_behind_raises_reaches_the_caller_and_nothing_follows() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), BackgroundThread("worker") as behind:
        behind.submit(fail)
        behind.submit(lambda: done.append(1))
    assert done == []
    with pytest.raises(OSError, match="disk full"), BackgroundThread("worker") as behind:
        behind.submit(fail)  # the last one, which nothing comes after


def test_an_error_of_the_caller_is_not_hidden_by_one_behind() -> None:
    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(ValueError, match="mine"), BackgroundThread("worker") as behind:
        behind.submit(fail)
        raise ValueError("mine")
