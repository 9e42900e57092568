"""A service of its own, started as users start it, on this machine: for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
import psutil
from chest_scan import Nodule, chest
from free_port import free_port
from tiny_detector import SHAPE, SPACING, save_detector

from parafovea.geometry.grid import Grid

CONFIG = """\
tasks:
  nodules:
    kind: detection
    model: models/tiny
    detection:
      peak_detection: {threshold: 0.735}
      size_filter: {min_diameter: 0.1, max_diameter: 500}
"""

#: A config of the lung nodule inference guide for that detector.
GUIDE_CONFIG = """\
input:
  clip_range: [-1000, 400]
  normalize: true
inference:
  mode: sliding_window
  patch_size: [16, 32, 32]
  stride: [8, 16, 16]
  blending: {method: gaussian, sigma: 0.125}
post_processing:
  peak_detection: {threshold: 0.735, min_distance: 10}
  size_filter: {min_diameter: 0.1, max_diameter: 500}
"""

#: `parafovea serve`.
SERVE = ("-c", "from parafovea.cli.main import app; app()", "serve", "--port", "{port}")

#: `uvicorn parafovea.service.app:app`.
UVICORN = ("-m", "uvicorn", "parafovea.service.app:app", "--port", "{port}")

#: Seconds until a server or a job is given up.
LONG = 240.0


def make_project(folder: Path) -> Path:
    """Make a folder with a config, a detector of random weights and `scan.nii.gz`; return it."""
    (folder / "config").mkdir(parents=True)
    (folder / "config/config.yaml").write_text(CONFIG)
    save_detector(folder / "models/tiny")
    write_scan(folder / "scan.nii.gz")
    return folder


def write_scan(path: Path, *, radius: float = 8.0) -> None:
    """Write a small chest with a nodule as NIfTI."""
    origin = tuple(-s * (n - 1) / 2 for n, s in zip(SHAPE, SPACING, strict=True))
    grid = Grid(SHAPE, SPACING, origin, "millimeter")
    voxels = chest(grid, [Nodule((0, 0, 55), radius)]).transpose(2, 1, 0).astype(np.int16)
    z, y, x = SPACING
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-x, -y, z, 1])), path)


def wait_for(condition: Callable[[], Any], what: str, *, seconds: float = LONG) -> Any:
    """Return what a function returns as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} has not happened in {seconds} s")


class LiveServer:
    """A server as a process.

    Parameters
    ----------
    folder : Path
        Where it is started; its spool is in it.
    command : sequence of str
        Arguments after the interpreter's; `{port}` stands for its port.
    **settings : str
        Values of the environment variables `PARAFOVEA_SERVICE_...`.
    """

    def __init__(self, folder: Path, *command: str, port: int | None = None, **settings: str):
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"server_{self.port}.log"
        self._command = [part.format(port=self.port) for part in command or SERVE]
        self._environment = {
            **os.environ,
            "SOURCE_DATE_EPOCH": "1",
            **{f"PARAFOVEA_SERVICE_{name.upper()}": value for name, value in settings.items()},
        }

    def start(self) -> LiveServer:
        """Start it, and wait until it answers."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=self.folder, env=self._environment, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self._answers, "the start of the server")
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code in (200, 401, 503)
        except httpx.TransportError:
            return False

    def workers(self) -> list[psutil.Process]:
        """Return its worker processes."""
        return psutil.Process(self.process.pid).children()

    def kill(self) -> list[psutil.Process]:
        """End it by SIGKILL, and return the workers that it had."""
        workers = self.workers()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return workers

    def stop(self) -> None:
        """End it by SIGTERM."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def submit(self, scan: Path, **options: Any) -> str:
        """Upload a scan and return the id of its job."""
        with scan.open("rb") as file:
            answer = httpx.post(
                f"{self.url}/api/v1/inference",
                files={"file": (scan.name, file)}, timeout=60, **options,
            )  # fmt: skip
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def state(self, job: str) -> dict[str, Any]:
        """Return the state of a job."""
        return dict(httpx.get(f"{self.url}/api/v1/inference/{job}", timeout=60).json())

    def finished(self, job: str) -> dict[str, Any]:
        """Return the state of a job when it is over."""
        return dict(
            wait_for(
                lambda: (s := self.state(job))["status"] not in ("queued", "running") and s,
                "the end of the job",
            )
        )
