"""Mutated files of every format: an error that names the file, or voxels; nothing else.

Where checksums cover what was changed, and wherever a file was cut short, the voxels are those of
the whole file.

Not collected by `make test`: `make test-fuzz` runs it, for five minutes in all. What is tried
follows from a seed. PARAFOVEA_FUZZ_SECONDS and PARAFOVEA_FUZZ_SEED take longer and try others.

A mutation that fails is read again by itself with

    python tests/formats/fuzzing.py FORMAT FOLDER SEED NUMBER 1
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzz_samples import FUZZED

#: Seconds for all formats together, and mutations of each at most.
SECONDS = float(os.environ.get("PARAFOVEA_FUZZ_SECONDS", "300"))
MOST = int(os.environ.get("PARAFOVEA_FUZZ_MOST", "3000"))
SEED = os.environ.get("PARAFOVEA_FUZZ_SEED", "0")

#: Processes that test at once.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

PROGRAM = Path(__file__).with_name("fuzzing.py")


@pytest.mark.parametrize("name", FUZZED)
def test_a_damaged_file_is_an_error_that_names_it_within_bounds(name, tmp_path):
    seconds = SECONDS * WORKERS / len(FUZZED)
    # the start of the program counts, too
    until = time.monotonic() + seconds
    command = [sys.executable, "-W", "ignore", PROGRAM, name, tmp_path / "files", SEED, "0"]
    done = subprocess.run(
        [*command, str(MOST), str(until)], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["tried"] > 0
    assert answer["wrong"] == {}, f"of {answer['tried']} files of {name}, with seed {SEED}"
