"""A process that ends without a word fails the item that it was at, and no other."""

import os
import signal

from parafovea.runtime.processes import in_processes


def work(item):
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return item.upper()


def test_each_item_has_its_result():
    assert dict(in_processes(work, ["a", "b", "c"], workers=2)) == {"a": "A", "b": "B", "c": "C"}


def test_a_crash_fails_its_item_alone():
    found = dict(in_processes(work, ["a", "crash", "b", "c"], workers=2))
    assert found == {"a": "A", "b": "B", "c": "C", "crash": None}
