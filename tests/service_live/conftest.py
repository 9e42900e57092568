"""A service with a small detector, started once for most tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import LiveServer, make_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a config, a model and `scan.nii.gz`; nothing is written to it."""
    return make_project(tmp_path_factory.mktemp("service") / "project")


@pytest.fixture(scope="session")
def server(project: Path) -> Iterator[LiveServer]:
    """Yield a running service."""
    found = LiveServer(project, patience="4", max_upload=str(40 * 2**20), lease="30")
    yield found.start()
    found.stop()


@pytest.fixture(scope="session")
def predicted(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of `parafovea predict` of the same scan."""
    import os
    import subprocess
    import sys

    place = tmp_path_factory.mktemp("predicted") / "scan"
    code = "from parafovea.cli.main import app; app()"
    subprocess.run(
        [sys.executable, "-c", code, "predict", "scan.nii.gz", "--output", str(place)],
        cwd=project, env={**os.environ, "SOURCE_DATE_EPOCH": "1"}, check=True,
    )  # fmt: skip
    return place
