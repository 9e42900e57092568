"""A real archive, started once, and a listener beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# the small project of the service's tests
sys.path.insert(0, str(Path(__file__).parents[1] / "service_live"))

from free_port import free_port
from listener import TITLE, Listener
from live_server import make_project
from orthanc import PASSWORD, USER, Orthanc, obstacle
from orthanc import TITLE as ARCHIVE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the tests out, with the reason, where no archive can be started."""
    reason = obstacle()
    here = Path(__file__).parent
    for item in items if reason else ():
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def pacs_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a config and a model."""
    return make_project(tmp_path_factory.mktemp("pacs") / "project")


@pytest.fixture(scope="session")
def port() -> int:
    """Return the DICOM port of the listener."""
    return free_port()


@pytest.fixture(scope="session")
def archive(port: int) -> Iterator[Orthanc]:
    """Yield a running archive that knows the listener."""
    modalities = {
        "parafovea": (TITLE, "127.0.0.1", port),
        "puller": ("PULLER", "127.0.0.1", free_port()),
    }
    found = Orthanc(free_port(), free_port(), modalities).start()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def listener(archive: Orthanc, pacs_project: Path, port: int) -> Iterator[Listener]:
    """Yield a running listener: the archive gets results by C-STORE, a scanner's by STOW-RS."""
    with pytest.MonkeyPatch.context() as patch:
        _set_credentials(patch)
        found = Listener(pacs_project, port, peers=peers(archive))
        yield found.start()
        found.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that the config names."""
    _set_credentials(monkeypatch)


def _set_credentials(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PACS_USER", USER)
    patch.setenv("PACS_PASSWORD", PASSWORD)


def peers(archive: Orthanc) -> dict[str, dict[str, object]]:
    """Return the peers of the config."""
    return {
        "orthanc": {
            "ae_title": ARCHIVE,
            "addresses": ["127.0.0.1"],
            "host": "127.0.0.1",
            "port": archive.dicom,
            "dicomweb": archive.root,
            "user_variable": "PACS_USER",
            "password_variable": "PACS_PASSWORD",
            "store": "dimse",
        },
        # a scanner, whose results are stored by STOW-RS
        "scanner": {
            "ae_title": "SCANNER",
            "addresses": ["127.0.0.1"],
            "dicomweb": archive.root,
            "user_variable": "PACS_USER",
            "password_variable": "PACS_PASSWORD",
        },
    }
