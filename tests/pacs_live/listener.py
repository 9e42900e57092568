"""`parafovea pacs listen` as users start it, and scans to send to it: for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from chest_scan import Nodule, chest
from dicom_slices import AXIAL, write_series
from live_server import CONFIG, wait_for
from tiny_detector import SHAPE, SPACING

from parafovea.geometry.grid import Grid
from parafovea.pacs.listening import ledger_path
from parafovea.pacs.series_ledger import SeriesLedger, SeriesRecord
from parafovea.service.spool import Spool

#: AE title of the listener.
TITLE = "PARAFOVEA"

#: The command line.
COMMAND = (sys.executable, "-c", "from parafovea.cli.main import app; app()", "pacs")


def study_uid(number: int) -> str:
    """Return the UID of a study of the tests."""
    return f"1.2.826.0.1.3680043.8.498.200.{number}"


def series_uid(number: int) -> str:
    """Return the UID of its series."""
    return f"{study_uid(number)}.1"


def write_scan(
    folder: Path, number: int, *, directions: np.ndarray = AXIAL, **elements: Any
) -> list[Path]:
    """Write a small chest with a nodule as the series of a study; return its files."""
    origin = tuple(-s * (n - 1) / 2 for n, s in zip(SHAPE, SPACING, strict=True))
    grid = Grid(SHAPE, SPACING, origin, "millimeter")
    voxels = chest(grid, [Nodule((0, 0, 55), 8.0)]).astype(np.int16)
    given = {
        "StudyInstanceUID": study_uid(number),
        "FrameOfReferenceUID": f"{study_uid(number)}.9",
        "StudyID": "1",
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "PatientSex": "O",
        "SeriesNumber": "2",
        "PositionReferenceIndicator": "",
        "Manufacturer": "None",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "series": series_uid(number),
        **elements,
    }
    paths = write_series(folder, voxels, directions=directions, spacing=SPACING, **given)
    return sorted(paths)


class Listener:
    """A listener as a process, in the folder of a project.

    Parameters
    ----------
    folder : Path
        With config and model.
    port : int
        Its DICOM port.
    **pacs : Any
        Values of the config's `pacs`.
    """

    def __init__(self, folder: Path, port: int, **pacs: Any) -> None:
        self.folder, self.port = folder, port
        self.log = folder / f"listener_{port}.log"
        self.config = folder / f"pacs_{port}.yaml"
        self.spool = Spool(folder / f"spool_{port}")
        settings = yaml.safe_load(CONFIG)
        settings["pacs"] = {"port": port, "quiet_seconds": 1.0, "patience": 5.0, **pacs}
        self.config.write_text(yaml.safe_dump(settings))

    def start(self) -> Listener:
        """Start it, and wait until it listens."""
        before = self.log.read_text().count("Listening") if self.log.is_file() else 0
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "listen", "--spool", str(self.spool.root), "--config", str(self.config)],
                cwd=self.folder, stdout=log, stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        wait_for(lambda: self._listens(before), "the start of the listener")
        return self

    def _listens(self, before: int) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return self.log.read_text().count("Listening") > before

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it by SIGTERM."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def records(self) -> list[SeriesRecord]:
        """Return what it received, the newest first."""
        with SeriesLedger(ledger_path(self.spool)) as ledger:
            return ledger.records()

    def over(self, series: str) -> SeriesRecord:
        """Return the newest record of a series when nothing more happens to it."""

        def found() -> SeriesRecord | None:
            records = [each for each in self.records() if each.series == series]
            over = records and records[0].state in ("stored", "failed")
            return records[0] if over else None

        return wait_for(found, "the end of a series")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of `parafovea pacs` with its config."""
        return subprocess.run(
            [*COMMAND, *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
