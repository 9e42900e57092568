"""Threads of torch: they wait passively, and small work gets few of them."""

import os
import subprocess
import sys

import torch

from parafovea.runtime.threads import threads_for

POLICY = "OMP_WAIT_POLICY"


def test_work_gets_no_more_threads_than_there_are_and_leaves_them_as_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = []
        for share in (0.1, 1.9, 2.0, 100):
            with threads_for(share):
                found.append(torch.get_num_threads())
        assert found == [1, 1, 2, 3]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_threads_wait_passively_unless_the_user_says_otherwise() -> None:
    print_it = f"import parafovea, os; print(os.environ['{POLICY}'])"
    environment = {name: value for name, value in os.environ.items() if name != POLICY}
    for given, wanted in (({}, "PASSIVE"), ({POLICY: "ACTIVE"}, "ACTIVE")):
        shown = subprocess.run(
            [sys.executable, "-c", print_it],
            env=environment | given,
            check=True,
            capture_output=True,
            text=True,
        )
        assert shown.stdout.strip() == wanted
