"""Installs what the tests with an archive need, where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from orthanc import obstacle

PACKAGES = ("orthanc", "orthanc-dicomweb", "dcmtk")


def install() -> None:
    """Install the packages with apt-get, as root, and let no archive of theirs run.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ("update", "-qq"),
        ("install", "-qq", "--yes", "--no-install-recommends", *PACKAGES),
    ):
        subprocess.run(["apt-get", *command], env=environment, check=True, stdout=sys.stderr)
    # the package starts an archive of its own; its tests start theirs at other ports
    subprocess.run(["invoke-rc.d", "orthanc", "stop"], check=False, stderr=subprocess.DEVNULL)


def main() -> None:
    """Install what is missing, and say why tests are left out otherwise."""
    if obstacle() is None:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        install()
    reason = obstacle()
    if reason is not None:
        print(f"The tests with a picture archive are left out: {reason}")


if __name__ == "__main__":
    main()
