"""Reading ahead, and batches by size."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parafovea.inference.ahead import Buckets, read_ahead


def test_items_come_in_their_order_and_no_more_are_read_than_may_wait() -> None:
    lock, started, taken, most = threading.Lock(), [0], [0], [0]

    def read(item: int) -> int:
        with lock:
            started[0] += 1
            most[0] = max(most[0], started[0] - taken[0])
        return item * item

    found = []
    for value in read_ahead(range(50), read, ahead=5, threads=3):
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

    reads = read_ahead(range(10), read, ahead=4)
    with pytest.raises(OSError, match="gone"):
        list(reads)


@given(st.lists(st.sampled_from("abcdef"), max_size=60), st.integers(1, 5), st.integers(5, 12))
def test_every_item_is_in_one_batch_of_its_kind(kinds: str, size: int, most: int) -> None:
    buckets: Buckets[tuple[int, str]] = Buckets(size, most=most)
    batches, waiting = [], 0
    for item in enumerate(kinds):
        batch = buckets.add(item[1], item)
        waiting += 1 - len(batch)
        assert waiting < most
        if batch:
            batches.append(batch)
    batches += buckets.rest()
    assert all(len({kind for _, kind in batch}) == 1 <= len(batch) <= size for batch in batches)
    assert Counter(item for batch in batches for item in batch) == Counter(enumerate(kinds))
