"""Orthanc, an archive, as a process of its own on this machine: for tests."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

#: Its AE title.
TITLE = "ORTHANC"

#: Who may call it over HTTP.
USER, PASSWORD = "reader", "not-a-secret"


def program() -> str | None:
    """Return the path of Orthanc, which Debian keeps where only root looks; None without it."""
    return shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def obstacle() -> str | None:
    """Return why no archive can be started on this machine, None where one can."""
    missing = [
        package
        for package, there in (
            ("orthanc", program() is not None),
            ("orthanc-dicomweb", PLUGIN.is_file()),
            ("dcmtk", shutil.which("storescu") is not None),
        )
        if not there
    ]
    if missing:
        return f"needs Debian's packages {', '.join(missing)}: apt-get install {' '.join(missing)}"
    return None


class Orthanc:
    """An archive with the DICOMweb plugin, at ports of its own.

    Parameters
    ----------
    web, dicom : int
        Ports of HTTP and of DICOM.
    modalities : mapping of str to tuple
        AE title, host and port of those that it knows, by name.
    title : str
        Its own AE title.
    """

    def __init__(
        self,
        web: int,
        dicom: int,
        modalities: dict[str, tuple[str, str, int]],
        *,
        title: str = TITLE,
    ) -> None:
        self.web, self.dicom, self.known = web, dicom, modalities
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="parafovea-orthanc-"))
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{web}", auth=(USER, PASSWORD), timeout=60
        )
        config = {
            "Name": "parafovea tests",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "index"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": web,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomPort": dicom,
            "DicomAet": title,
            "DicomModalities": {name: list(each) for name, each in modalities.items()},
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAssociationCloseDelay": 0,
            "DicomThreadsCount": 2,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "Full"},
            "SaveJobs": False,
        }
        (self.folder / "orthanc.json").write_text(json.dumps(config))

    @property
    def root(self) -> str:
        """Root of its DICOMweb services."""
        return f"http://127.0.0.1:{self.web}/dicom-web"

    def start(self) -> Orthanc:
        """Start it, and wait until it answers."""
        options: dict[str, Any] = {}
        if os.geteuid() == 0:
            # it needs no rights
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with (self.folder / "orthanc.log").open("a") as log:
            self.process = subprocess.Popen(
                [str(program()), str(self.folder / "orthanc.json")],
                cwd=self.folder, stdout=log, stderr=log, **options,
            )  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.folder / "orthanc.log").read_text()
            try:
                if self.client.get("/system").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "orthanc.log").read_text())

    def stop(self) -> None:
        """End it, and remove what it stored."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.client.close()
        shutil.rmtree(self.folder)

    def get(self, path: str) -> Any:
        """Return the JSON of an address."""
        answer = self.client.get(path)
        answer.raise_for_status()
        return answer.json()

    def instances(self, study: str, modality: str) -> list[str]:
        """Return Orthanc's ids of the objects of a modality in a study."""
        query = {
            "Level": "Instance",
            "Query": {"StudyInstanceUID": study, "Modality": modality},
        }
        answer = self.client.post("/tools/find", json=query)
        answer.raise_for_status()
        return list(answer.json())

    def file(self, instance: str) -> bytes:
        """Return an object as a DICOM file."""
        answer = self.client.get(f"/instances/{instance}/file")
        answer.raise_for_status()
        return answer.content

    def send(self, study: str, modality: str) -> dict[str, Any]:
        """Send a study to a modality by C-STORE, as its rules of forwarding would."""
        found = self.client.post(
            "/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": study}}
        ).json()
        answer = self.client.post(f"/modalities/{modality}/store", json=found)
        answer.raise_for_status()
        return dict(answer.json())


def storescu(
    port: int,
    files: Sequence[Path],
    *options: str,
    calling: str,
    called: str,
) -> subprocess.CompletedProcess[str]:
    """Send files with dcmtk's `storescu`."""
    return subprocess.run(
        ["storescu", "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port),
         *map(str, files)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
