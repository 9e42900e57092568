"""A cluster for all tests of the session, and folders to run the workflow in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, obstacle, running_cluster
from runs import Run

ROOT = Path(__file__).parents[2]

#: What a fresh clone holds that a run needs.
CONTENT = (
    "Snakefile",
    "config",
    "envs",
    "profiles",
    "resources",
    "scripts",
    "slurm",
    "workflow",
)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Yield a running cluster; skip where there can be none."""
    reason = obstacle()
    if reason is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="parafovea-slurm-"))
    try:
        with running_cluster(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that makes a fresh clone, with the profile edited for this cluster."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        for each in CONTENT:
            source = ROOT / each
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / each)
        profile = folder / "slurm" / "profile.yaml"
        values = yaml.safe_load(profile.read_text())
        # no accounting, and a local disk
        values |= {"slurm-status-command": "squeue", "latency-wait": 5}
        values["slurm-init-seconds-before-status-checks"] = 2
        profile.write_text(yaml.safe_dump(values, sort_keys=False))
        return folder

    return make


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., Run]]:
    """Return a function that starts Snakemake in a folder; all are ended with the tests."""
    runs: list[Run] = []

    def begin(folder: Path, *arguments: str) -> Run:
        runs.append(Run(folder, *arguments))
        return runs[-1]

    yield begin
    for run in runs:
        run.end()
