"""Snakemake, called from the outside in a folder of a test."""

import subprocess
import sys
from pathlib import Path

import pytest
from planner import Planner

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def snakemake():
    """Return a function that runs the workflow in a folder and returns its status and output."""

    def run(folder, *arguments):
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
        command += ["--directory", folder, "--quiet", "rules", "--cores", "2", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def planned():
    """Return a function that plans the workflow and returns the number of jobs by rule."""
    planner = Planner(ROOT)
    yield planner.plan
    planner.close()
